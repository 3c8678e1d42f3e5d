"""Systems that exist, and Onward in their middle."""
