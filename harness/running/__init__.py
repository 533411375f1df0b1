"""What happens while pytest judges claims."""
