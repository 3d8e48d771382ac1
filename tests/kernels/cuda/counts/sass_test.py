#!/usr/bin/env python3
"""sass.py on a kernel written by hand: which instructions are loops, and what is counted in them."""
import unittest

from sass import kernels_of

LISTING = """
//--------------------- .text.kernel --------------------------
.text.kernel:
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_1:
        /*0010*/              @!PT LDS RZ, [RZ] ;
        /*0020*/               @P0 LDGSTS.E.BYPASS.128 [R3], [R16.64] ;
        /*0030*/                   BRA.DIV ~URZ, `(.L_x_9) ;
        /*0040*/                   BSSY B1, `(.L_x_4) ;
        /*0050*/               @P0 BRA `(.L_x_3) ;
.L_x_2:
        /*0060*/                   LD.E.128 R4, [R22.64] ;
        /*0070*/                   LDS.64 R8, [R62] ;
        /*0080*/                   LDS R9, [R62+0x8] ;
        /*0090*/                   IDP.4A.S8.S8 R4, R31, R4, RZ ;
        /*00a0*/              @!P0 CALL.REL.NOINC `(.L_x_3) ;
        /*00b0*/                   BRA `(.L_x_2) ;
.L_x_3:
        /*00c0*/                   BSYNC B1 ;
.L_x_4:
        /*00d0*/                   CALL.REL.NOINC `($__internal_0_$__cuda_sm20_div) ;
        /*00e0*/                   BRA.U UP0, `(.L_x_1) ;
        /*00f0*/                   FFMA R1, R2, R3, R4 ;
        /*0100*/                   EXIT ;
.L_x_9:
        /*0110*/                   SHFL.BFLY PT, R1, R2, 0x1, 0x1f ;
        /*0120*/                   BRA `(.L_x_1) ;
.L_x_5:
        /*0130*/                   BRA `(.L_x_5) ;
"""


class Sass(unittest.TestCase):
    def setUp(self):
        kernels = kernels_of(LISTING)
        self.assertEqual(list(kernels), ["kernel"])
        self.kernel = kernels["kernel"]

    def test_loops(self):
        spans = sorted((min(loop), max(loop), len(loop)) for loop in self.kernel.loops)
        # The outer one, the inner one, and the trap behind the end. What diverged lanes do (0x110) is none.
        self.assertEqual(spans, [(1, 14, 14), (6, 11, 6), (19, 19, 1)])

    def test_what_matters(self):
        loop, product = self.kernel.loop_that_matters()
        self.assertEqual((min(loop), product), (6, "IDP"))
        self.assertEqual(self.kernel.count(loop), 6)
        self.assertEqual(self.kernel.count(loop, r"LDS(\.|$)"), 2)
        self.assertEqual(self.kernel.phases(loop), 4 + 2 + 1)

    def test_what_never_runs_is_not_counted(self):
        outer = max(self.kernel.loops, key=len)
        self.assertEqual(self.kernel.count(outer), 13)
        self.assertEqual(self.kernel.count(outer, "LDGSTS"), 1)


if __name__ == "__main__":
    unittest.main()
