"""How much one prompt may hold and one rendering may do; every limit is a refusal, never a cut."""

MAX_TEMPLATE_CHARS = 200_000
MAX_IMAGE_CHARS = 2_000_000
"""Of an image that is part of its address (`data:`)."""
MAX_TOOL_CALLS = 128
MAX_CALL_ID = 256
MAX_MESSAGES = 200
MAX_PARTS = 50
MAX_VARIABLES = 200
MAX_OUTPUT_CHARS = 1_000_000
MAX_VALUES_SIZE = 2_000_000
"""Characters, numbers and keys of all values together."""

MAX_ITERATIONS = 10_000
"""Loop iterations of one rendering, in all loops together."""
MAX_STEPS = 100_000
"""Filters, tests, operators, calls, iterations and outputs of one rendering."""
MAX_WORK_CHARS = 8_000_000
"""Characters that one rendering may produce on its way, thrown away or not."""
MAX_VALUE_SIZE = 2_000_000
MAX_SECONDS = 1.0
MAX_CALL_DEPTH = 16
MAX_NODE_DEPTH = 64
MAX_BLOCK_DEPTH = 12
