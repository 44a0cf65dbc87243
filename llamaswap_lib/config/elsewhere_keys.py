"""What is said of the keys of models that run on other machines: see docs/clusters.md."""

WHEN_QUEUED = (
    "what the others do while a member of it is queued elsewhere: `evict` unloads the one that has been idle longest,"
    " one after the other, until the job of the member starts (llamaswap only; see docs/clusters.md)"
)
POOL = (
    "a name for the machines elsewhere on which it runs: models with the same one make room for each other as members"
    " of a group with `whenQueued: evict` do (llamaswap only; see docs/clusters.md)"
)
LOST_AFTER = (
    "where its server is not on this machine: seconds without an answer to its check after which a ready one counts as"
    " lost, and is ended; 0 never (llamaswap only; see docs/clusters.md)"
)
