"""OpenSSL, and what nothing here needs, is put off until somebody uses it, and all who do find it then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PUT_OFF = """
import sys
from importlib.util import find_spec
from llamaswap_lib.runtime import put_off
put_off.put_off()
import hashlib, hmac, http.client, ssl
import llamaswap_lib.main
assert not {"_ssl", "_bz2", "_lzma", "html.entities"} & sys.modules.keys(), "it is loaded"
"""


def run(source: str) -> None:
    """In a Python of its own, in which nothing is imported yet; raises CalledProcessError where an assertion fails."""
    subprocess.run([sys.executable, "-c", PUT_OFF + source], cwd=ROOT, check=True, timeout=60)


def test_digests_are_the_same_without_it() -> None:
    run("""
assert hashlib.sha256(b"x").hexdigest() == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
assert hashlib.blake2b(b"x", digest_size=4).hexdigest() == "b1ba07e5"
assert hmac.digest(b"k", b"x", hashlib.sha256).hex()[:8] == "c38edc88"
has_own = all(find_spec(name) is not None for name in put_off.OWN_HASHES)
assert not (has_own and "_hashlib" in sys.modules), "it is loaded"
""")


def test_the_first_use_loads_it_for_all_who_have_imported_it() -> None:
    run("""
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
assert "_ssl" in sys.modules
assert http.client.ssl.SSLContext is ssl.SSLContext is sys.modules["ssl"].SSLContext
assert http.client.HTTPSConnection("localhost", context=context).port == 443
import ssl as again
assert isinstance(context, again.SSLContext)
""")


def test_each_of_them_is_as_it_always_is_once_it_is_used() -> None:
    run("""
import bz2, calendar, html.parser, http.server, lzma, mimetypes, shutil
assert bz2.decompress(bz2.compress(b"x")) == b"x" and lzma.decompress(lzma.compress(b"x")) == b"x"
assert mimetypes.guess_type("x.html")[0] == "text/html"
assert calendar.timegm((1970, 1, 2, 0, 0, 0)) == 86400
assert html.parser.HTMLParser and html.escape("<") == "&lt;" and html.unescape("&lt;") == "<"
assert sys.modules["html"].parser is html.parser is http.server.html.parser
from html import entities
assert entities.codepoint2name[38] == "amp"
""")


def test_who_looks_at_all_modules_does_not_load_it() -> None:
    run("""
for module in list(sys.modules.values()):
    hasattr(module, "__file__"), hasattr(module, "__path__"), hasattr(module, "__warningregistry__")
assert "_ssl" not in sys.modules
""")


def test_a_load_that_fails_may_be_tried_again() -> None:
    run("""
class Missing:
    def find_spec(self, name, path, target=None):
        if name == "_ssl":
            raise OSError(24, "Too many open files")
sys.meta_path.insert(0, missing := Missing())
for _ in range(2):
    try:
        put_off.load()
    except OSError as error:
        assert error.errno == 24
    else:
        raise AssertionError("it was loaded")
sys.meta_path.remove(missing)
put_off.load()
assert ssl.SSLContext is sys.modules["ssl"].SSLContext
""")


def test_threads_that_use_it_first_at_once_all_get_it() -> None:
    run("""
import threading
sys.setswitchinterval(1e-5)
barrier, found = threading.Barrier(8), []
def use():
    barrier.wait()
    found.append((ssl.SSLContext, ssl.create_default_context))
threads = [threading.Thread(target=use) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(found) == 8 and len(set(found)) == 1, found
""")


def test_what_is_there_already_stays() -> None:
    source = "import ssl, hashlib\nfrom llamaswap_lib.runtime import put_off\nput_off.put_off()\n"
    source += "import sys\nassert sys.modules['ssl'] is ssl and '_ssl' in sys.modules\nput_off.load()"
    subprocess.run([sys.executable, "-c", source], cwd=ROOT, check=True, timeout=60)
