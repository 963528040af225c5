"""The compute statement: what a job, a campaign or an account came to, with how far each figure can be trusted."""
