"""Search: spaces of programs, strategies that propose, evaluators that judge, a driver that can be killed."""
