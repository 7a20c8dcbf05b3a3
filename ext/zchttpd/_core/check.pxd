# Checks for code that cannot raise (see zc_compat.h).

cdef extern from "zc_compat.h" nogil:
    void zc_assert(bint condition)
    void zc_check(bint condition)
    bint likely "zc_likely" (bint condition)
    bint unlikely "zc_unlikely" (bint condition)
