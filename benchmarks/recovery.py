"""How fast is a recovery? ``cleanup --now`` against ``curl -Z``, the same photos from the same local nginx, one after the other.

    python benchmarks/recovery.py [--photos 5000] [--kilobytes 195] [--concurrency 32]

curl keeps no state at all, so it is the ceiling. Needs nginx and curl. Prints photos a second, and the ratio.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from venue_images.cli import ports

#: Different files; each is asked for under several addresses.
FILES = 100
PHOTOS_OF_A_VENUE = 5
SIDE = 1200
NGINX = """
daemon off; pid {folder}/nginx.pid; error_log stderr crit; worker_processes 2;
events {{ worker_connections 1024; }}
http {{
    access_log off; sendfile on; types {{ image/jpeg jpg; }}
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; root {folder}/photos; keepalive_requests 100000; }}
}}
"""


def main() -> int:
    options = _options()
    if missing := [program for program in ("nginx", "curl") if not shutil.which(program)]:
        print(f"Please install {' and '.join(missing)}.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = _make_photos(folder / "photos", options.kilobytes * 1000)
        with _nginx(folder) as address:
            urls = [f"http://{address}/{number % FILES}.jpg?n={number}" for number in range(options.photos)]
            curl = _curl(folder, urls, options.concurrency)
            ours = _cleanup(folder, address, urls, options.concurrency)
    print(f"{options.photos} photos of {size / 1000:.0f} kB, {options.concurrency} at once")
    print(f"curl -Z {curl:.0f}/s, cleanup --now {ours:.0f}/s: {ours / curl:.2f} of it")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("photos", 5000), ("kilobytes", 195), ("concurrency", 32)):
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def _make_photos(folder: Path, size: int) -> float:
    """Photos of about this many bytes: noise in as many pixels as it takes; their mean size."""
    folder.mkdir()
    side = SIDE
    while len(_photo(side)) > size:
        side = int(side * 0.95)
    for number in range(FILES):
        (folder / f"{number}.jpg").write_bytes(_photo(side))
    return sum(file.stat().st_size for file in folder.iterdir()) / FILES


def _photo(side: int) -> bytes:
    body = BytesIO()
    Image.frombytes("L", (side, side), os.urandom(side * side)).save(body, "jpeg", quality=40)
    return body.getvalue()


@contextlib.contextmanager
def _nginx(folder: Path) -> Iterator[str]:
    with ports.listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
    folder.chmod(0o755)
    server = subprocess.Popen([str(shutil.which("nginx")), "-c", folder / "nginx.conf", "-p", folder])
    try:
        while not ports.answers(port):
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def _curl(folder: Path, urls: Sequence[str], concurrency: int) -> float:
    """Photos a second."""
    (folder / "curl").mkdir()
    lines = [f'url = "{url}"\noutput = "{folder}/curl/{number}.jpg"\n' for number, url in enumerate(urls)]
    (folder / "urls").write_text("".join(lines))
    started = time.monotonic()
    subprocess.run(
        [str(shutil.which("curl")), "-s", "-Z", "--parallel-max", str(concurrency), "-K", folder / "urls"],
        check=True,
        capture_output=True,
    )
    return len(urls) / (time.monotonic() - started)


def _cleanup(folder: Path, address: str, urls: Sequence[str], concurrency: int) -> float:
    """Photos a second, from the figures of the command itself."""
    environment = {
        **os.environ,
        "VENUE_IMAGES_HOME": str(folder / "home"),
        "VENUE_IMAGES_TRUSTED_HOSTS": address,
        "VENUE_IMAGES_HOST_CONCURRENCY": str(concurrency),
    }
    for name in ("DATABASE_URL", "STORAGE_URL"):
        environment.pop(name, None)
    catalogue = folder / "catalogue.jsonl"
    catalogue.write_text("".join(f"{json.dumps(line)}\n" for line in _lines(urls)))
    _venue_images(environment, "import", str(catalogue))
    report = json.loads(_venue_images(environment, "cleanup", "--now"))
    if report["images_recovered"] != len(urls):
        raise SystemExit(f"Only {report['images_recovered']} of {len(urls)} photos were recovered: {report}")
    return len(urls) / float(report["seconds"])


def _lines(urls: Sequence[str]) -> Iterator[dict[str, object]]:
    """Venues whose photos have failed before."""
    for start in range(0, len(urls), PHOTOS_OF_A_VENUE):
        records = [
            {"provider": "catalog", "provider_url": url, "upload_status": "failed", "retry_count": 1}
            | {"error_details": {"error_type": "network_timeout"}}
            for url in urls[start : start + PHOTOS_OF_A_VENUE]
        ]
        yield {"slug": f"venue-{start}", "name": f"Venue {start}", "venue_images": records}


def _venue_images(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", "venue_images.cli", *arguments, "--json"]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
