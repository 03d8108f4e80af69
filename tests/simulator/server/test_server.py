"""Processes and signals of the simulator."""

from __future__ import annotations

import datetime
import ipaddress
import json
import signal
import socket
import ssl
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.simulator_process import API_KEY, ROOT, Simulator, running_simulator

FAST = "ttft_base_ms = 1\nttft_std_ms = 0\nttft_per_token_ms = 0\ntbt_ms = 0.1\ntbt_std_ms = 0\n"
LIMITED = f"""
[deployments.limited]
tpm = 10000
minute_from = "first-request"
rpm_slices_s = [60]
rpm_per_1000_tpm = 1000
{FAST}"""
OPEN = f"[deployments.open]\n{FAST}[deployments.endless]\ntbt_ms = 100\nmax_output_tokens = 100000\n"


def post(simulator: Simulator, deployment: str, max_tokens: int, mark: str = "") -> int:
    # A connection each, so that every process gets some.
    answer = httpx2.post(
        simulator.chat_url + "/openai/v1/chat/completions",
        json={"model": deployment, "messages": [{"role": "user", "content": "hi"}], "max_tokens": max_tokens},
        headers={"api-key": API_KEY, "x-ms-client-request-id": mark},
        timeout=20,
        verify=False,  # it is http; no time for certificates that are not needed
    )
    return answer.status_code


def test_several_processes_share_one_limiter_one_log_and_one_configuration():
    with running_simulator(LIMITED, workers=2) as simulator:
        with ThreadPoolExecutor(4) as pool:
            statuses = list(pool.map(lambda n: post(simulator, "limited", 492, str(n)), range(40)))
        # 500 each (1 piece + 4 + 3 + 492): the twentieth reaches 10,000.
        assert statuses.count(200) == 20
        assert statuses.count(429) == 20
        rows = simulator.truth()
        assert sorted(int(row["client_request_id"]) for row in rows) == list(range(40))
        assert simulator.admin("GET", "/admin/truth")["deployments"]["limited"]["statuses"] == {"200": 20, "429": 20}
        simulator.admin("PATCH", "/admin/config", {"deployments": {"limited": {"tpm": None}}})
        assert {post(simulator, "limited", 492) for _ in range(10)} == {200}
        seen = [simulator.admin("GET", "/admin/config")["deployments"]["limited"]["tpm"] for _ in range(10)]
        assert seen == [None] * 10
        children = psutil.Process(simulator.process.pid).children()
        assert len(children) == 2
    assert not any(child.is_running() for child in children)


@pytest.mark.parametrize(("sign", "workers"), [(signal.SIGTERM, 2), (signal.SIGINT, 1)])
def test_a_signal_ends_it_with_exit_code_0_and_every_request_in_the_log(sign, workers):
    with running_simulator(OPEN, workers=workers) as simulator, httpx2.Client(timeout=20) as client:
        for n in range(5):
            assert post(simulator, "open", 1, str(n)) == 200
        request = client.build_request(
            "POST",
            simulator.chat_url + "/v1/chat/completions",
            json={
                "model": "endless",
                "messages": [{"role": "user", "content": "hi"}],
                "max_tokens": 9999,
                "stream": True,
            },
            headers={"api-key": API_KEY},
        )
        answer = client.send(request, stream=True)
        lines = answer.iter_lines()
        next(lines)
        simulator.process.send_signal(sign)
        with pytest.raises(httpx2.RemoteProtocolError):
            list(lines)
        answer.close()
        assert simulator.process.wait(timeout=60) == 0
        rows = [json.loads(line) for line in simulator.truth_path.read_text().splitlines()]
    assert sorted(row["outcome"] for row in rows) == ["cut"] + ["ok"] * 5
    (cut,) = [row for row in rows if row["outcome"] == "cut"]
    assert cut["reason"] == "shutdown"
    assert cut["completion_tokens"] >= 1


def test_a_kill_loses_less_than_a_second_of_the_log():
    with running_simulator(OPEN) as simulator:
        ended = []
        until = time.monotonic() + 1.3
        while time.monotonic() < until or len(ended) <= 20:
            assert post(simulator, "open", 1, str(len(ended))) == 200
            ended.append(time.time())
        simulator.process.send_signal(signal.SIGKILL)
        simulator.process.wait()
        kept = {json.loads(line)["client_request_id"] for line in simulator.truth_path.read_text().splitlines()}
    lost = [at for n, at in enumerate(ended) if str(n) not in kept]
    alive_at = ended[-10]  # a busy machine may have let it stand still from then on until it was killed
    assert all(alive_at - at < 1.0 for at in lost)


def test_workers_do_not_outlive_their_parent_nor_it_them():
    with running_simulator(OPEN, workers=2) as simulator:
        children = psutil.Process(simulator.process.pid).children()
        simulator.process.kill()
        psutil.wait_procs(children, timeout=60)
        assert not any(child.is_running() for child in children)
    with running_simulator(OPEN, workers=2) as simulator:
        children = psutil.Process(simulator.process.pid).children()
        children[0].kill()
        assert simulator.process.wait(timeout=60) == 1
        assert not any(child.is_running() for child in children)


def test_beyond_loopback_the_admin_routes_ask_for_a_token(tmp_path):
    config = 'admin_token = "open sesame"\n' + OPEN
    with running_simulator(config, host="0.0.0.0") as simulator:
        url = simulator.chat_url + "/admin/config"
        assert httpx2.get(simulator.chat_url + "/healthz").json() == {"status": "ok"}
        assert httpx2.get(url).status_code == 401
        assert httpx2.patch(url, json={"seed": 2}, headers={"authorization": "Bearer no"}).status_code == 401
        answer = httpx2.get(url, headers={"authorization": "Bearer open sesame"})
        assert answer.json()["seed"] == 1
        assert "sesame" not in answer.text


def test_a_patch_with_mistakes_changes_nothing_and_names_them_all():
    with running_simulator(OPEN) as simulator:
        url = simulator.chat_url + "/admin/config"
        before = httpx2.get(url).json()
        answer = httpx2.patch(url, json={"seed": 5, "deployments": {"open": {"tbt_ms": -1, "speed": 2}}})
        assert answer.status_code == 400
        assert [problem.split(":")[0] for problem in answer.json()["problems"]] == ["tbt_ms", "speed"]
        assert httpx2.patch(url, content=b"{").status_code == 400
        assert httpx2.patch(url, json=[]).status_code == 400
        assert httpx2.get(url).json() == before


@pytest.mark.parametrize(
    "arguments", [["--config", "no-such.toml"], ["--port", "-1"], ["--workers", "0"], ["--log-level", "loud"], ["--x"]]
)
def test_bad_input_is_exit_code_2_without_a_traceback(arguments):
    ended = subprocess.run(
        [sys.executable, "-m", "simulator", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == 2
    assert ended.stderr.strip()
    assert "Traceback" not in ended.stderr


def test_a_port_that_is_taken_is_said_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [sys.executable, "-m", "simulator", "--port", str(port)], cwd=ROOT, capture_output=True, text=True
        )
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.endswith("is in use (another simulator? --port 0 takes a free port)\n")


def test_the_same_seed_gives_the_same_answers():
    def text(simulator: Simulator) -> list[str]:
        answers = [
            httpx2.post(
                simulator.chat_url + "/v1/chat/completions",
                json={"model": "open", "messages": [{"role": "user", "content": f"q {n}"}], "max_tokens": 8},
                headers={"api-key": API_KEY},
            )
            for n in (1, 2, 2)
        ]
        return [answer.json()["choices"][0]["message"]["content"] for answer in answers]

    runs = []
    for seed in (3, 3, 4):
        with running_simulator(OPEN, seed=seed) as simulator:
            runs.append(text(simulator))
    assert runs[0] == runs[1] != runs[2]
    assert len(set(runs[0])) == 3


def test_https(tmp_path):
    certificate, key = _self_signed(tmp_path)
    with running_simulator(OPEN, tls_certificate=certificate, tls_key=key) as simulator:
        assert simulator.chat_url.startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=certificate)
        with httpx2.Client(verify=trusting) as client:
            assert client.get(simulator.chat_url + "/healthz").status_code == 200
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(simulator.chat_url + "/healthz")


def _self_signed(directory: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulator")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "certificate.pem", directory / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths
