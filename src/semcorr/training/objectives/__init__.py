"""What training minimises: losses, the proxy model, and their parts."""
