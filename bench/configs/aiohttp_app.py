import uvloop
from aiohttp import web

app = web.Application()
app.router.add_static("/", "{{ root }}")
web.run_app(
    app,
    host="{{ host }}",
    port=int("{{ port }}"),
    backlog=4096,
    access_log=None,
    print=None,
    loop=uvloop.new_event_loop(),
)
