//! Sans-IO core of the coordinator: chooses signers, gathers signature shares, aggregates, blames and retries.
