"""What a study will cost and can show, before anything runs."""
