"""What the tests stand on: servers, clients, sites and faults."""
