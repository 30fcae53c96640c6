"""What a user can repeat to see the speed: a load generator for any ACME server, and a comparison with Pebble."""
