"""For splice's own tests and its users': a wire in memory and a clock the test moves."""
