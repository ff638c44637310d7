"""The rules of a saga: pure values and decisions. Standard library only, no clock, no chance."""
