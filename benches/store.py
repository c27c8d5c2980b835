"""A store that speaks as much of S3's protocol as an index in a bucket asks for, over files of this machine.

    python benches/store.py FOLDER PORT

It answers ranges by reading these bytes alone and hands files to the socket without copying them, so that what
a replica takes is measured and not its store; moto reads a whole object for each range. Puts keep to
If-None-Match. Each request is a line on stdout. Signatures are not looked at: it listens on this machine alone.
"""

import email.utils
import hashlib
import http.server
import os
import pathlib
import socket
import sys
import threading
import urllib.parse
import uuid
from xml.sax.saxutils import escape

root = pathlib.Path(sys.argv[1])
lock = threading.Lock()
uploads = {}
PAGE = 1000


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, *_):
        pass

    def log_request(self, code="-", size="-"):
        # In one piece: many threads write here.
        os.write(1, f'"{self.command} {self.path} " {code}\n'.encode())

    def ask(self):
        """The bucket, the key and the query of this request."""
        path, _, query = self.path.partition("?")
        bucket, _, key = urllib.parse.unquote(path).lstrip("/").partition("/")
        return bucket, key, dict(urllib.parse.parse_qsl(query, keep_blank_values=True))

    def answer(self, code, body=b"", **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, code, word):
        self.answer(code, f"<Error><Code>{word}</Code><Message>{word}</Message></Error>".encode())

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def file(self, bucket, key):
        return root / bucket / key

    def do_HEAD(self):
        self.get()

    def do_GET(self):
        bucket, key, query = self.ask()
        self.list(bucket, query) if not key else self.get()

    def get(self):
        bucket, key, _ = self.ask()
        try:
            file = open(self.file(bucket, key), "rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return self.fail(404, "NoSuchKey")
        with file:
            meta = os.fstat(file.fileno())
            start, end, code = 0, meta.st_size, 200
            asked = self.headers.get("Range", "")
            if asked.startswith("bytes="):
                first, _, last = asked[6:].partition("-")
                if first:
                    start, end = int(first), min(int(last) + 1 if last else end, end)
                else:
                    start = max(0, end - int(last))
                if start >= end:
                    return self.fail(416, "InvalidRange")
                code = 206
            self.send_response(code)
            self.send_header("Content-Length", str(end - start))
            self.send_header("Last-Modified", email.utils.formatdate(meta.st_mtime, usegmt=True))
            self.send_header("ETag", f'"{meta.st_mtime_ns:x}"')
            if code == 206:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{meta.st_size}")
            self.end_headers()
            self.wfile.flush()
            while self.command == "GET" and start < end:
                sent = os.sendfile(self.connection.fileno(), file.fileno(), start, end - start)
                if sent == 0:
                    break
                start += sent

    def list(self, bucket, query):
        prefix, after = query.get("prefix", ""), query.get("continuation-token") or query.get("start-after", "")
        # The folder that all keys with this prefix are in.
        top = root / bucket / prefix.rpartition("/")[0]
        keys = sorted(
            os.path.join(folder, name)[len(str(root / bucket)) + 1:]
            for folder, _, names in os.walk(top) for name in names if not name.endswith(".part")
        )
        keys = [key for key in keys if key.startswith(prefix) and key > after]
        more = len(keys) > PAGE
        found = []
        for key in keys[:PAGE]:
            try:
                meta = self.file(bucket, key).stat()
            except FileNotFoundError:
                continue
            time = email.utils.datetime.datetime.fromtimestamp(meta.st_mtime, email.utils.datetime.timezone.utc)
            found.append(f"<Contents><Key>{escape(key)}</Key><Size>{meta.st_size}</Size><LastModified>"
                         f"{time:%Y-%m-%dT%H:%M:%S.000Z}</LastModified><ETag>&quot;{meta.st_mtime_ns:x}&quot;</ETag>"
                         "</Contents>")
        token = f"<NextContinuationToken>{escape(keys[PAGE - 1])}</NextContinuationToken>" if more else ""
        self.answer(200, f"<ListBucketResult><KeyCount>{len(found)}</KeyCount><IsTruncated>{str(more).lower()}"
                         f"</IsTruncated>{token}{''.join(found)}</ListBucketResult>".encode())

    def do_PUT(self):
        bucket, key, query = self.ask()
        body = self.body()
        if not key:
            (root / bucket).mkdir(parents=True, exist_ok=True)
            return self.answer(200)
        if "uploadId" in query:
            uploads[query["uploadId"]][int(query["partNumber"])] = body
            return self.answer(200, ETag=f'"{hashlib.md5(body).hexdigest()}"')
        self.put(self.file(bucket, key), [body])

    def put(self, file, pieces, body=b""):
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"{file.name}.{uuid.uuid4().hex}.part")
        with open(part, "wb") as out:
            out.writelines(pieces)
        with lock:
            if self.headers.get("If-None-Match") == "*" and file.exists():
                part.unlink()
                return self.fail(412, "PreconditionFailed")
            os.rename(part, file)
        self.answer(200, body, ETag=f'"{uuid.uuid4().hex}"')

    def do_POST(self):
        bucket, key, query = self.ask()
        body = self.body()
        if "uploads" in query:
            upload = uuid.uuid4().hex
            uploads[upload] = {}
            return self.answer(200, f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId>"
                                    "</InitiateMultipartUploadResult>".encode())
        if "uploadId" in query:
            pieces = uploads.pop(query["uploadId"])
            done = b'<CompleteMultipartUploadResult><ETag>"x"</ETag></CompleteMultipartUploadResult>'
            return self.put(self.file(bucket, key), [pieces[number] for number in sorted(pieces)], done)
        if "delete" in query:
            import xml.etree.ElementTree as tree
            removed = []
            for element in tree.fromstring(body).iter():
                if element.tag.endswith("Key"):
                    self.file(bucket, element.text).unlink(missing_ok=True)
                    removed.append(f"<Deleted><Key>{escape(element.text)}</Key></Deleted>")
            return self.answer(200, f"<DeleteResult>{''.join(removed)}</DeleteResult>".encode())
        self.fail(400, "InvalidRequest")

    def do_DELETE(self):
        bucket, key, query = self.ask()
        if "uploadId" in query:
            uploads.pop(query["uploadId"], None)
        else:
            self.file(bucket, key).unlink(missing_ok=True)
        self.answer(204)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        # Who asks may go away while it is answered.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


Server(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
