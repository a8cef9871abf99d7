"""Simplex consensus (Chan and Pass 2023) with on-demand blocks and epochs, as a machine without I/O.

Every sentence below that bears a number has a test of that number in tests/ledger/simplex (`test_protocol.py` checks that
none lacks
one). What each stands for is told with pictures in docs/consensus.md.

Sets. An epoch e has a committee of n voters, one vote each; f = floor((n-1)/3) may lie, q = floor(2n/3) + 1 votes make a
certificate.
Views 1, 2, ... of an epoch have one leader each, member (view + e) mod n; view 0 is the block that the epoch stands on.

Enter (R1)
1.1 View v is entered on a notarization of v-1 once its block was executed here, and not before.
1.2 It is entered on a nullification of v-1.
1.3 It is entered on any finalization at or above v-1, with or without the block.

Work (R2): views' timers run only while there is work, so that an idle street makes no blocks and no votes.
2.1 A transaction that may go in is work once the least interval of its kind has passed since the branch's last non-empty block.
2.2 A proposal or a NOTARIZE for the view is work.
2.3 NULLIFY of more than f members is work; of f it is not, so that liars cannot keep a street awake.
2.4 A notarized ancestor that is not final is work 2D after the view was entered, and not before.
2.5 A boundary of a slot that lies behind our estimate of the time is work.
2.6 Evidence that a block may carry is work.
2.7 The heartbeat is work.

Propose (R3)
3.1 The leader proposes once in a view, and records the block before it asks for a signature.
3.2 It extends the highest notarized or final block such that every view between is nullified, and sends those nullifications
along.
3.3 Where the stamp would be more than `stale` behind its estimate, the block is an empty tick and the transactions wait for
the next; where fewer than 2f+1 knew the time, one tick after a quiet while is enough.

Notarize (R4)
4.1 The first valid proposal of the view's leader is notarized, body and vote recorded together before the vote is signed.
4.2 A second proposal is never notarized.
4.3 Nothing is notarized in a view that was nullified by us.
4.4 A proposal whose parent is not proven, or below the final block, is not notarized.
4.5 A view between parent and block without a nullification is asked for, and the vote waits.
4.6 A block is executed before it is voted for; one whose roots or time disagree is invalid and nullified at once.
4.7 A block with transactions stamped more than 4 `stale` behind our trusted clock is invalid for us; not so where fewer than
2f+1 knew the time and its parent was certified here less than 4 `stale` ago, because then the lag is the rules' own.

Finalize (R5)
5.1 A notarization in the current view is answered with FINALIZE once the block was executed, unless we nullified the view.
5.2 Nor is a view finalized whose leader proposed two blocks.
5.3 Certificates are kept, recorded, and forwarded once.

Nullify (R6): never after FINALIZE.
6.1 When no proposal came 2D after work began.
6.2 When the view was not left 3D after work began.
6.3 When the leader itself nullified.
6.4 When more than f nullified.
6.5 A view that we finalized is never nullified by us.

Commit (R8)
8.1 A finalization commits its block and all its ancestors, in order.
8.2 FINALIZE votes for older views still count.

Time-outs (R9)
9.1 D grows by half with every nullified view in a row, up to a cap, and is itself again after a finalization.

Repeat (R10)
10.1 Own votes of the current view, own unconfirmed FINALIZE, the own proposal and the status are sent again after 2D, then
ever more
rarely, at last once a minute.
10.2 A status is answered with the certificates that its sender lacks and with own votes.

Verify (R11)
11.1 Votes from others are taken for views above the final one and up to two ahead; certificates for any view above it.
11.2 A vote counts once, with a signature that holds, in its own epoch.

Evidence (R12)
12.1 Two different NOTARIZE, FINALIZE or proposals of one member in one view, or NULLIFY and FINALIZE, are kept, recorded, sent to
everybody and put into the next block.
12.2 Two certificates of one view that contradict each other name everybody who signed both, more than f members.

Followers (R13)
13.1 A node without a seat commits by certificates and never votes.

After a start (R14, ours)
14.1 What the journal holds is signed again, the same way, and binds as if it had just been said.
14.2 A member votes only after q-1 others told it what they hold of its own votes, and 10 D after its start.
14.3 A vote of its own that stands in no record here is shown to the wallet, which must know it.

Epochs (R15)
15.1 When a sealing block is final the machine has ended: it neither proposes nor votes any more.
15.2 A sealing block that a descendant made final carries that proof.
15.3 Above a sealing block that is not final yet only its own finality is work.
15.4 The first block of an epoch stands on the sealing block, needs no certificate, and is stamped one millisecond later.
15.5 Votes and certificates of another epoch are dropped.

Deviations from the paper and from the published engines, and why: votes are verified when they arrive, not when a quorum is
at hand (a
street's worth costs milliseconds a second, and evidence is found at once); headers commit to the parent's certificate, so
that block
time can be checked for ever; block time lags by one block, hence the tick; the view after a notarization is entered before its
predecessor is final, so that the ancestor clause (2.4) has a delay; a leader puts every vote that it holds into the parent's
certificate,
because seats are judged by the votes that are missing there; readiness for an epoch is a transaction of the node's key.
"""
