"""The sealed chain of the audit: what a seal covers, who writes seals, and how a change is found."""
