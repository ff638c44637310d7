"""The console: pages for people, on the services, served with the REST face. No decisions."""
