"""What operators configure: principals, tokens, managed challenges, authorities, profiles, campaigns."""
