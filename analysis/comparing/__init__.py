"""Which settings differ: baselines, winners, verdicts and relations."""
