"""From files, folders of images, or a seed to the inputs that networks run on.

Goes out: `Samples`, checked against a model's ports. `samples` reads, checks and batches them;
`random_inputs` draws those that nobody gave; `images` turns a folder of images into arrays;
`choose` picks those for construction and validation; `variation` measures how much of a tensor
depends on them.
"""
