# What Python says of listeners, and of networks.

from zchttpd._core.machine cimport Machine
from zchttpd._core.networks cimport Networks

cdef int listening_networks(Networks* networks, named) except -1
cdef int listening_set(Machine* machine, listeners, proxies) except -1
