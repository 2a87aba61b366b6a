"""Who is refused, and what: each by a request over a socket of its own."""

from __future__ import annotations

import base64
import http.client
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from sana_wm.studio.pictures import clean_name
from sana_wm.studio.safety import MOST_UPLOAD_BYTES


def ask(
    studio: Any, path: str = "/", *, method: str = "GET", body: bytes | None = None, **headers: str | None
) -> http.client.HTTPResponse:
    """One request as the page itself would make it; a header that is `None` is left out."""
    sent = {
        "Host": f"127.0.0.1:{studio.port}",
        "Cookie": f"sana_wm_studio_{studio.port}={studio.token}",
        "Origin": studio.root,
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", studio.port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    for name, value in sent.items():
        if value is not None:
            connection.putheader(name, value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    answer.text = answer.read().decode(errors="replace")
    return answer


def test_the_page_itself_is_answered(studio: Any) -> None:
    answer = ask(studio)
    assert answer.status == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_token_goes_from_the_address_into_a_cookie_no_script_can_read(studio: Any) -> None:
    answer = ask(studio, f"/?token={studio.token}", Cookie=None, Origin=None)
    assert (answer.status, answer.headers["location"]) == (303, "/")
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "SameSite=strict" in answer.headers["set-cookie"]


@pytest.mark.parametrize("path", ["/", "/new", "/run-file?run=a&what=video", "/studio-assets/studio.js", "/?token=no"])
@pytest.mark.parametrize("cookie", [None, "sana_wm_studio_{port}=wrong", "sana_wm_studio_{port}=", "a=b; ;;\x01"])
def test_without_the_token_nothing_is_answered(studio: Any, path: str, cookie: str | None) -> None:
    answer = ask(studio, path, Cookie=cookie and cookie.format(port=studio.port))
    assert answer.status in (400, 403)
    assert "nicegui" not in answer.text.lower()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "evil.example:{port}", None])
def test_another_host_is_refused(studio: Any, host: str | None) -> None:
    answer = ask(studio, Host=host and host.format(port=studio.port), Origin=None)
    assert answer.status in (400, 421)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:{port}"])
def test_another_origin_is_refused(studio: Any, origin: str) -> None:
    assert ask(studio, Origin=origin.format(port=studio.port)).status == 403


def test_what_changes_something_must_say_its_origin(studio: Any) -> None:
    assert ask(studio, "/upload", method="POST", body=b"x", Origin=None).status == 403


@pytest.mark.parametrize(
    "change",
    [
        {"Origin": "http://evil.example"},
        {"Origin": None},
        {"Cookie": None},
        {"Cookie": "sana_wm_studio_1=x"},
        {"Host": "evil.example"},
        {},
    ],
    ids=str,
)
def test_the_websocket_is_guarded_the_same(studio: Any, change: dict[str, str | None]) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(b"0123456789abcdef").decode(),
    }
    path = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    sent = {"Host": f"127.0.0.1:{studio.port}", "Origin": studio.root} | upgrade
    sent |= {"Cookie": f"sana_wm_studio_{studio.port}={studio.token}"} | change
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items() if value is not None)
    with socket.create_connection(("127.0.0.1", studio.port), timeout=20) as peer:
        peer.sendall(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        status = peer.recv(64).split()[1]
    assert status == (b"403" if change else b"101")


@pytest.mark.parametrize(
    "path",
    [
        "/studio-assets/../server.py",
        "/studio-assets/%2e%2e/server.py",
        "/studio-assets/..%2fserver.py",
        "/run-file?run=../../etc&what=video",
        "/run-file?run=/etc&what=video",
        "/run-file?run=.&what=video",
        "/run-file?run=a&what=../../manifest.json",
        "/picture?key=../../../etc/passwd",
        "/picture?key=0123456789abcdef/../../../../etc/passwd",
        "/camera-preview?key=../../../../etc/passwd",
        "/camera-preview?key=/etc/passwd%00",
        "/report?run=../..",
        "/chart?run=..%2f..",
        "/live-branch?run=../..&frame=0&action=w-8",
    ],
)
def test_no_path_leads_out_of_the_runs_folder(studio: Any, path: str) -> None:
    (studio.runs / "secret.mp4").write_text("secret")
    answer = ask(studio, path)
    assert answer.status in (404, 422)
    assert "root:" not in answer.text
    assert "LOOPBACK" not in answer.text


@pytest.mark.parametrize(
    "wrong",
    [
        "width=1&height=8192",
        "width=0&height=0",
        "width=99999999&height=64",
        "fov_deg=180",
        "fov_deg=nan",
        "left=2",
        "top=nan",
        "action=" + "w-999999999",
        "action=%3Cscript%3E",
    ],
)
def test_no_drawing_is_larger_or_odder_than_a_video(studio: Any, wrong: str) -> None:
    picture = (studio.folder / "road.png").read_bytes()
    key = json.loads(ask(studio, "/upload", method="POST", body=picture, X_File_Name="road.png").text)["key"]
    right = f"picture={key}&action=w-8&fov_deg=70&width=1280&height=704&left=0.5&top=0.5"
    asked = dict(one.split("=") for one in f"{right}&{wrong}".split("&"))
    drawn = ask(studio, f"/live?{right}")
    refused = ask(studio, "/live?" + "&".join(f"{name}={value}" for name, value in asked.items()))
    (studio.runs / ".studio" / "pictures" / key).unlink()
    assert (drawn.status, drawn.headers["content-type"]) == (200, "image/jpeg")
    assert refused.status in (404, 422)
    assert refused.headers["content-type"] == "application/json"


def test_a_link_out_of_the_runs_folder_is_not_followed(studio: Any) -> None:
    folder = studio.runs / ".studio" / "previews"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "link.mp4").symlink_to("/etc/passwd")
    assert ask(studio, "/camera-preview?key=link").status == 404


@pytest.mark.parametrize("path", ["/upload", "/", "/_nicegui_ws/socket.io/?EIO=4&transport=polling"])
def test_ten_gigabytes_are_refused_before_they_are_read(studio: Any, path: str) -> None:
    size = 10 * 1024**3
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{studio.port}\r\nOrigin: {studio.root}\r\n"
    head += f"Cookie: sana_wm_studio_{studio.port}={studio.token}\r\nContent-Length: {size}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", studio.port), timeout=20) as peer:
        peer.sendall(head.encode())  # and not a byte of the body
        answer = peer.recv(4096).decode()
    assert answer.split()[1] == "413"
    assert list((studio.runs / ".studio").glob("tmp*")) == []


def test_a_body_of_unknown_length_is_refused(studio: Any) -> None:
    answer = ask(studio, "/upload", method="POST", Transfer_Encoding="chunked")
    assert answer.status == 411


def test_the_limit_is_said(studio: Any) -> None:
    answer = ask(studio, "/upload", method="POST", Content_Length=str(MOST_UPLOAD_BYTES + 1))
    assert (answer.status, "expected 200 MiB at most" in answer.text) == (413, True)


@pytest.mark.parametrize("body", [b"", b"no picture", b"\x89PNG\r\n\x1a\n cut", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_picture_is_refused_in_words_and_does_not_stay(studio: Any, body: bytes) -> None:
    answer = ask(studio, "/upload", method="POST", body=body, X_File_Name="road.png")
    assert answer.status in (404, 422)
    assert "cannot be used as the first frame" in answer.text
    assert [path for path in (studio.runs / ".studio" / "pictures").rglob("*") if path.is_file()] == []


def test_nothing_of_the_library_is_written_into_the_working_folder(studio: Any) -> None:
    assert sorted(path.name for path in studio.folder.iterdir()) == [
        *("phone.heic", "road.png", "runs", "studio.log", "weights"),
    ]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("road.JPG", "road.jpg"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("<script>alert(1)</script>.png", "script.png"),
        ("${HOME}\x1b[31m.heic", "HOME_31m.heic"),
        ("Straße am Meer.png", "Straße_am_Meer.png"),
        ("...", "picture"),
        ("", "picture"),
        ("a" * 300 + ".png", "a" * 60 + ".png"),
    ],
)
def test_a_picture_s_name_becomes_one_file_name(given: str, kept: str) -> None:
    assert clean_name(given) == kept
    assert Path(kept).name == kept
