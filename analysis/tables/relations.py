"""The correlation of probes with accuracy as text."""

from analysis.comparing.relations import EXPLANATION, print_relation, relation_sheets

__all__ = ["EXPLANATION", "print_relation", "relation_sheets"]
