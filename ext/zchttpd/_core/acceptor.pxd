# Accepting: of each listener one accept is under way at a time, and after an error there is a pause.

from zchttpd._core.machine cimport Machine
from zchttpd._core.op cimport Completion

cdef void acceptor_arm(Machine* machine) noexcept nogil
cdef void acceptor_step(Machine* machine, const Completion* completion) noexcept nogil
cdef void acceptor_expire(Machine* machine) noexcept nogil
cdef void acceptor_end(Machine* machine) noexcept nogil
