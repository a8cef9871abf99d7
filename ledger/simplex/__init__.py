"""Simplex consensus (Chan and Pass 2023) with on-demand blocks, as a machine without I/O.

The committee agrees block by block, each final before it is applied. Views v = 1, 2, ... have one leader each. In a view a
voter notarizes at most one block, or nullifies the view, and finalizes what got a quorum of notarize votes. There is no
view-change protocol and no lock; one rule per voter keeps safety: never both nullify and finalize a view, and never
notarize after nullifying. The quorum is floor(2n/3) + 1 of n.

- Enter view v on a notarization of v-1 whose body was executed here, a nullification of v-1, or a finalization at or above v-1.
- Timers run only while there is work, so that an idle street makes no blocks: a transaction that may go in, a slot's boundary,
  votes of others for this view, a notarized ancestor that is not final after 2D, or the heartbeat.
- The leader extends the highest notarized block such that every view between is nullified, and proves both.
- A voter executes a block before it votes for it; block time is the lower median of its parent's certificate's times.
- Nullify when no proposal came 2D after work began, or the view was not left 3D after, the block is invalid, or f+1 others did.
- Finalize on a notarization in the current view unless nullified or the leader equivocated; then enter the next view.
- Each vote is recorded with the block's body, durably, before it is signed and sent; the signer keeps a record of its own.

Deviations from the design, and why: votes are verified when they arrive instead of when a quorum is at hand (a street's worth costs
milliseconds a second and one rule less); headers commit to the parent's certificate.
"""
