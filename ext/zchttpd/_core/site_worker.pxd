# A worker that answers new paths of a known shape, and looks at entries again, by itself.

from zchttpd._core.worker cimport Worker

cdef class SiteWorker(Worker):
    pass
