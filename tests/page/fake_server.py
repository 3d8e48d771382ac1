"""A server that says what a test wants said: the page's files from the tree, and the endpoints that the page asks."""

import json
import pathlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ROOT = pathlib.Path(__file__).resolve().parents[2]
WEB = ROOT / "runtime/server/web"
HERE = ROOT / "tests/page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# As the program has it: serve_page_test.py compares.
POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

METRICS = """# HELP hearth_requests Requests at the engine now.
# TYPE hearth_requests gauge
hearth_requests{state="running"} 1
hearth_requests{state="waiting"} 2
hearth_requests_limit{state="running"} 4
hearth_prompt_tokens_total 2000
hearth_prefix_hit_tokens_total 1300
hearth_experts_chosen_total 1000
hearth_expert_cache_hits_total 910
hearth_cache_pages{state="used"} 40
hearth_cache_pages{state="free"} 60
hearth_cache_page_positions 64
hearth_prefill_tokens_per_second 812.5
hearth_decode_tokens_per_second 23.4
"""


class Script:
    """What the next answers are. Steps: ("text", s), ("thoughts", s), ("call", name, arguments), ("progress", total,
    cached, done, ms), ("wait", event), ("error", message), ("cut",), ("finish", reason)."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.answers = []  # lists of steps, one for each request; the last one stays
        self.requests = []  # bodies, as they came
        self.left = threading.Event()  # a client left in the middle of an answer
        self.loading = None  # 0 to 1: the model is not there yet
        self.key = None  # that is asked for
        self.refusal = None  # (status, message) of all chats
        self.switch = False  # thinking can be switched
        self.n_ctx = 8192


def handler_of(script):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # events are small and many
        left = threading.Event()

        def log_message(self, *_):
            pass

        def handle_one_request(self):
            try:
                super().handle_one_request()
            except (BrokenPipeError, ConnectionResetError):
                self.left.set()
                self.close_connection = True

        def reply(self, status, body, kind="application/json", headers=()):
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def refuse(self, status, message, code=None):
            self.reply(status, {"error": {"message": message, "code": code}})

        def allowed(self):
            if script.key is None or self.headers.get("Authorization") == f"Bearer {script.key}":
                return True
            self.refuse(401, "this server asks for an API key")
            return False

        def do_GET(self):
            path = self.path.split("?")[0]
            if path in ("/props", "/metrics"):
                return self.allowed() and self.told(path)
            file = HERE / path[7:] if path.startswith("/tests/") else WEB / (path[1:] or "index.html")
            if file.parent not in (WEB, HERE) or not file.is_file():
                return self.refuse(404, f"there is no {path}")
            self.reply(
                200,
                file.read_bytes(),
                TYPES.get(file.suffix, "application/json") + "; charset=utf-8",
                [
                    ("Content-Security-Policy", POLICY),
                    ("X-Content-Type-Options", "nosniff"),
                    ("Cache-Control", "max-age=3600"),  # from one test to the next nothing changes
                ],
            )

        def told(self, path):
            if path == "/metrics":
                ready = script.loading is None
                state = f"hearth_ready {int(ready)}\nhearth_loading_progress {1 if ready else script.loading}\n"
                return self.reply(200, (state + (METRICS if ready else "")).encode(), "text/plain")
            if script.loading is not None:
                return self.refuse(503, "the model is loading", "model_loading")
            self.reply(
                200,
                {
                    "model_alias": "DeepSeek-V2-Lite",
                    "can_switch_thinking": script.switch,
                    "default_generation_settings": {
                        "n_ctx": script.n_ctx,
                        "params": {"temperature": 0.30000001192092896, "top_p": 0.95},
                    },
                    "placement": {
                        "gpu": "NVIDIA RTX 4090",
                        "gpu_bytes": 7.1e9,
                        "memory_bytes": 2.9e9,
                        "disk_bytes": 5e8,
                    },
                },
            )

        def do_POST(self):
            self.left = script.left  # of this test: the next one has another
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self.allowed():
                return
            script.requests.append(body)
            if script.refusal:
                return self.refuse(*script.refusal)
            steps = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            self.stream(steps)

        def event(self, delta, **more):
            chunk = {
                "object": "chat.completion.chunk",
                "model": "DeepSeek-V2-Lite",
                "choices": [{"index": 0, "delta": delta, "finish_reason": more.pop("finish", None)}],
                **more,
            }
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            self.wfile.flush()

        def stream(self, steps):
            self.said, self.ending = 0, "stop"
            self.event({"role": "assistant", "content": ""})
            for step in steps:
                if not self.step(*step):
                    return
            timings = {
                "cache_n": 80,
                "prompt_n": 40,
                "predicted_n": self.said,
                "predicted_per_second": 23.4,
                "prompt_per_second": 812.0,
            }
            self.event({}, finish=self.ending, timings=timings, usage=self.usage())
            self.wfile.write(b"data: [DONE]\n\n")

        def usage(self):
            return {
                "prompt_tokens": 120,
                "completion_tokens": self.said,
                "prompt_tokens_details": {"cached_tokens": 80},
            }

        def step(self, kind, *rest):
            """False: nothing follows."""
            if kind in ("text", "thoughts"):
                name = {"text": "content", "thoughts": "reasoning_content"}[kind]
                for piece in pieces(rest[0]):
                    self.said += 1
                    self.event({name: piece}, usage=self.usage())
            elif kind == "call":
                name, arguments = rest
                head = {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": ""}}
                self.event({"tool_calls": [head]})
                for piece in pieces(arguments):
                    self.event({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
                self.ending = "tool_calls"
            elif kind == "progress":
                total, cached, done, ms = rest
                self.event({}, prompt_progress={"total": total, "cache": cached, "processed": done, "time_ms": ms})
            elif kind == "wait":
                return self.wait(rest[0])
            elif kind == "error":
                self.wfile.write(f"data: {json.dumps({'error': {'message': rest[0]}})}\n\n".encode())
                return False
            elif kind == "finish":
                self.ending = rest[0]
            return kind != "cut"

        def wait(self, event):
            while not event.wait(0.05):
                self.wfile.write(b": ping\n\n")  # fails when the client has left
                self.wfile.flush()
            return True

    return Handler


def pieces(text):
    """Cut as tokens would be: a few characters each, and many for what is long."""
    size = max(4, len(text) // 100)
    return [text[i : i + size] for i in range(0, len(text), size)]


class Connections(ThreadingHTTPServer):
    """Knows its connections: browsers keep them open, and closing means all of them."""

    daemon_threads = True

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.connections = []

    def get_request(self):
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address

    def cut(self):
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed already


class FakeServer:
    def __init__(self):
        self.script = Script()
        self.server = Connections(("127.0.0.1", 0), handler_of(self.script))
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.server.cut()
