"""Commands that check cluster.yaml and manage the cluster's roles on AWS."""
