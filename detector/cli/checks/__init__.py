"""What `detector doctor` looks at: a file for each group of checks, each with a generator of `Check`s."""
