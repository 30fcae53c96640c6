"""What every wing shares while the hub runs: plugins and their objects, secrets, audit, notifications, order events."""
