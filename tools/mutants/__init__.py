"""What turns small files into hostile ones, for `fuzz`. Seeds go in, mutants come out.

A mutant is a dictionary of file names and contents; its first file is the one to be opened. All
mutators draw from the `random.Random` that they are given, so that a number makes a mutant again.
`values` mutates numbers, text and bytes, `models` protobuf and JSON, `archives` packs and arrays;
`mutate` chooses among them.
"""
