"""Check cluster.yaml, and create and delete what the cluster needs on AWS."""
