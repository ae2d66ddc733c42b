"""Checking and preparing a cluster on AWS."""
