"""What the kernels of Fourier transforms are told: the formats that generators and planner share.

A transform of many lines works on *blocks*: as many lines as a vector has lanes, in a buffer whose
rows hold the real parts and then the imaginary parts of one coefficient of each. A block's program
is a list of records in the kernel's desc, each the address of a step's machine code and what it
reads: steps bring lines or columns into rows, combine rows, and write them back.
"""

from __future__ import annotations

from .plan import Fields

# What a step knows of its block: addresses of its corner of the input and of the result, of two
# buffers and of room for partial sums; how many lanes are in use; which block of the line it is.
STATE = ("input", "output", "first", "second", "sums", "lanes", "block")
FIRST, SECOND = STATE.index("first"), STATE.index("second")

BLOCK = Fields(
    "across input_outer input_block output_outer output_block lanes width second sums records"
)
PHASE = Fields("input input_at output output_at work work_step")  # before a BLOCK
NEST = Fields("sections input_line output_line fetched work work_step between after")
SECTION = Fields("input output blocks at")  # after a NEST, one for each

RADIX = Fields("code source target columns stride twiddles radix roots")
# a pass that reads or writes columns itself
ENDS = Fields(
    f"{' '.join(RADIX.names)} input_row sign output_row scale_real scale_imaginary turns turn_row"
    " coarse shift"
)
LOAD_LINES = Fields("code target rows parts line row real imaginary")
STORE_LINES = Fields("code source rows parts line row real imaginary scale_real scale_imaginary")
LOAD_COLUMNS = Fields("code target rows row real imaginary")
STORE_COLUMNS = Fields(
    "code source rows row real imaginary scale_real scale_imaginary turns turn_row"
)
LOAD_REALS = Fields("code target rows row apart")
STORE_REALS = Fields("code source rows row apart real imaginary scale_real")
CLEAR = Fields("code target begin end apart")
MIRROR = Fields("code target rows sign")
TURN = Fields("code source target half twiddles sign real imaginary backward")
TURN_LINE = Fields("code half twiddles sign scale_real scale_imaginary backward")

RECORDS = {
    "radix": ENDS,
    "prime": RADIX,
    "load_lines": LOAD_LINES,
    "load_short_lines": LOAD_LINES,
    "store_lines": STORE_LINES,
    "store_short_lines": STORE_LINES,
    "load_columns": LOAD_COLUMNS,
    "store_columns": STORE_COLUMNS,
    "store_turned": STORE_COLUMNS,
    "load_reals": LOAD_REALS,
    "store_reals": STORE_REALS,
    "clear": CLEAR,
    "mirror": MIRROR,
    "turn": TURN,
    "turn_line": TURN_LINE,
}
# every record is as long as the longest, so that the steps need not say where the next one is
RECORD_LENGTH = max(len(fields.names) for fields in RECORDS.values())
