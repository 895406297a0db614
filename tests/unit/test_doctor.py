# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.doctor}: every check, on a host that is as it should be but for one thing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from attrs import evolve
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from btcp.config import Config, Credentials, Listener, loads
from btcp.daemon.privileges import BPF, NET_ADMIN, NET_RAW, PERFMON, PrivilegeError
from btcp.datapath.ebpf import adoption, express, objects, programs
from btcp.doctor import network
from btcp.doctor.examination import NAMES, Checked, examine, failed, text
from btcp.doctor.finding import Finding, fail, fine, warn
from btcp.doctor.host import Device, Host, Output
from btcp.doctor.icmp import Echo
from btcp.lab.topology import node_yaml
from btcp.pki.trust import Loaded, TrustError

_FILES = Credentials("/e/node.crt", "/e/node.key", "/e/ca.crt")
_VIP = bytes([192, 0, 2, 100])


def configuration(**changes: object) -> Config:
    settings = {"datapath": "auto", **changes}
    config = loads(node_yaml("a", Path("/run/x"), "abc", settings), "node.yaml")
    return evolve(config, control=evolve(config.control, credentials=_FILES))


CONFIG = configuration()
OWN = frozenset(CONFIG.own.addresses)


_ATTACHED = {"ingress": [(2940, "btcp_ingress")], "egress": [(2940, "btcp_egress")]}


class FakeHost(Host):
    """
    A host as it should be.

    @ivar files: what is in them.
    @ivar modes: of files.
    @ivar outputs: of programs, by their beginning; anything else prints nothing.
    @ivar deaf: ends, by address and port, where no connection is made, and why.
    """

    release = "6.18"

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.modes: dict[str, int] = {"/dev/net/tun": 0o666, "/e/node.key": 0o600}
        self.outputs: dict[str, Output] = {}
        self.deaf: dict[tuple[str, int], str] = {
            ("192.0.2.11", 80): "refused",
            ("2001:db8:2::11", 80): "refused",
        }
        self.tun: str | None = None
        self.having = frozenset((NET_ADMIN, NET_RAW, BPF, PERFMON))
        self.lacks: dict[str, str] = {}
        self.unbuilt: Sequence[str] = ()
        self.held = {
            "lo": Device("lo", 65536, True, False, frozenset()),
            "eth0": Device("eth0", 1500, True, True, OWN),
        }
        self.tap: Device | None = Device("btcp0", 1500, True, True, frozenset())
        self.tc: Mapping[str, Sequence[tuple[int, str]]] | None = None
        self.counters: dict[str, int] = {}
        self.busy: str | None = None
        self.pid: int | None = 4711
        self.states = {"b": "up", "c": "up"}
        self.info: dict[str, object] = {"datapath": "ebpf", "resumes": True}
        self.echoes: Callable[[str, int], Echo] = lambda address, size: Echo.ANSWERED
        self.skews: dict[str, float | None] = {}
        self.users = {"btcp": (12, 34)}
        self.ends = datetime.now(UTC) + timedelta(days=100, hours=1)
        self.untrusted: str | None = None
        self.wrong_peers: dict[str, str] = {}
        self.limit = 4096

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def stat(self, path: str) -> os.stat_result | None:
        if path.endswith(".sock") and self.pid is None and path not in self.modes:
            return None
        mode = self.modes.get(path, 0o755)
        return os.stat_result((mode, 0, 0, 1, 0, 0, 0, 0, 0, 0)) if mode else None

    def run(self, argv: Sequence[str], stdin: str = "") -> Output:
        line = " ".join(argv)
        return next(
            (o for start, o in self.outputs.items() if line.startswith(start)), Output(0, "")
        )

    def opens(self, path: str) -> str | None:
        return self.tun

    def capabilities(self, pid: int | None = None) -> frozenset[int]:
        return self.having

    def account(self, user: str) -> tuple[int, int]:
        if user not in self.users:
            raise PrivilegeError(f"user: there is no user {user!r} on this host")
        return self.users[user]

    def open_files(self) -> int:
        return self.limit

    def missing_objects(self) -> Sequence[str]:
        return self.unbuilt

    def ebpf(self) -> str | None:
        return self.lacks.get("ebpf")

    def cookie(self) -> str | None:
        return self.lacks.get("cookie")

    def express(self) -> str | None:
        return self.lacks.get("express")

    def devices(self) -> Mapping[str, Device]:
        running = {} if self.tap is None or self.pid is None else {"btcp0": self.tap}
        return {**self.held, **running}

    def filters(self, device: str) -> Mapping[str, Sequence[tuple[int, str]]]:
        if self.tc is None:
            return _ATTACHED if self.pid is not None else {}
        return self.tc

    def connect(self, address: str, port: int, source: str | None = None) -> str | None:
        return self.deaf.get((address, port))

    def listen(self, address: str, port: int) -> str | None:
        return self.busy

    def handshake(
        self, address: str, port: int, source: str | None, loaded: Loaded, node: str
    ) -> str | None:
        assert source == "192.0.2.11"
        return self.wrong_peers.get(node)

    def echo(self, address: str, size: int, source: str | None) -> Echo:
        return self.echoes(address, size)

    def skew(self, address: str, source: str | None) -> float | None:
        return self.skews.get(address)

    def trust(self, files: Credentials, node: str) -> Loaded:
        if self.untrusted is not None:
            raise TrustError(self.untrusted)
        return Loaded(SSL.Context(SSL.TLS_METHOD), self.ends)

    def daemon(self, path: str) -> int | None:
        return self.pid

    def query(self, path: str, what: str) -> Any:
        if what == "stats":
            return {"counters": self.counters}
        if what == "info":
            return {"info": self.info}
        return {"peers": [{"node": node, "state": state} for node, state in self.states.items()]}


class DoctorCase(SynchronousTestCase):
    """
    @cvar check: the name of the one that is tested.
    """

    check: ClassVar[str] = ""

    def setUp(self) -> None:
        self.host = FakeHost()

    def findings(self, config: Config | None = CONFIG) -> list[Finding]:
        return [each.finding for each in examine(self.host, config) if each.check == self.check]

    def only(self, config: Config | None = CONFIG) -> Finding:
        (finding,) = self.findings(config)
        return finding

    def test_as_it_should_be(self) -> None:
        """
        Each check says so, once.
        """
        if self.check:
            self.assertEqual(self.only().verdict.value, "fine")


class TunTests(DoctorCase):
    check = "tun"

    def test_missing(self) -> None:
        self.host.modes["/dev/net/tun"] = 0
        self.assertIn("modprobe tun", self.only(None).remedy)

    def test_closed(self) -> None:
        self.host.tun = "Permission denied"
        self.assertEqual(
            self.only(), fail("/dev/net/tun: Permission denied", "chmod 0666 /dev/net/tun")
        )

    def test_closed_to_the_user(self) -> None:
        self.host.modes["/dev/net/tun"] = 0o600
        self.assertEqual(self.only().verdict, "fine")
        self.assertIn("not for user btcp", self.only(configuration(user="btcp")).says)


class NftablesTests(DoctorCase):
    check = "nftables"

    def test_missing(self) -> None:
        self.host.outputs["nft"] = Output(127, "nft is missing")
        self.assertEqual(self.only().remedy, ("apt-get install nftables",))

    def test_no_hook(self) -> None:
        self.host.outputs["nft --check"] = Output(1, "Error: Operation not supported\nmore")
        self.assertIn("Error: Operation not supported", self.only(None).says)
        self.assertEqual(self.only().verdict, "fail")

    def test_table_is_there(self) -> None:
        self.host.outputs["nft list"] = Output(0, "table netdev btcp")
        self.host.outputs["nft --check"] = Output(1, "not asked")
        self.assertEqual(self.only().verdict, "fine")


class EbpfTests(DoctorCase):
    check = "ebpf"

    def test_cannot(self) -> None:
        """
        Failure for who insists; a slower way for who does not; nothing for who will not.
        """
        self.host.lacks["ebpf"] = "the kernel refuses the tc programs"
        for datapath, verdict in (("ebpf", "fail"), ("auto", "warn"), ("raw", "fine")):
            self.assertEqual(self.only(configuration(datapath=datapath)).verdict, verdict)
        self.assertEqual(self.only(None).verdict, "warn")

    def test_no_btf(self) -> None:
        self.host.lacks["ebpf"] = "libbpf.so.1 is missing"
        self.host.modes["/sys/kernel/btf/vmlinux"] = 0
        remedy = self.only().remedy
        self.assertIn("apt-get install libbpf1", remedy)
        self.assertIn("# boot a kernel with CONFIG_DEBUG_INFO_BTF", remedy)


class CookieTests(DoctorCase):
    check = "cookie"

    def test_cannot(self) -> None:
        self.host.lacks["cookie"] = "the kernel has no bpf_sk_assign_tcp_reqsk"
        for wanted, verdict in (("cookie", "fail"), ("auto", "warn"), ("replay", "fine")):
            self.assertEqual(self.only(configuration(adoption=wanted)).verdict, verdict)
        self.assertEqual(self.only(configuration(datapath="raw")).verdict, "fine")

    def test_express(self) -> None:
        wanted = configuration(express=True)
        self.assertIn("handoffs by the kernel", self.only(wanted).says)
        for lacks in ("express", "cookie"):
            self.host.lacks = {lacks: "no such thing"}
            found = self.only(wanted)
            self.assertEqual((found.verdict, found.says), ("fail", "no such thing"))
            self.assertIn("express: false", found.remedy[1])


class ObjectTests(DoctorCase):
    """
    Compiled programs that the installation lacks: a different kernel would not help.
    """

    def test_remedy_is_to_install(self) -> None:
        self.host.unbuilt = ["adopt.bpf.o"]
        self.host.lacks = dict.fromkeys(("ebpf", "cookie", "express"), "no adopt.bpf.o")
        for config in (CONFIG, configuration(express=True), None):
            for each in examine(self.host, config):
                if each.check in ("ebpf", "cookie"):
                    remedy = "\n".join(each.finding.remedy)
                    self.assertIn("install a package", remedy)
                    self.assertNotIn("boot", remedy)

    def test_each_program_is_looked_for(self) -> None:
        names = {OBJECT.name for OBJECT in (programs.OBJECT, adoption.OBJECT, express.OBJECT)}
        self.assertEqual(names, set(objects.NAMES))
        for module in (programs, adoption, express):
            self.patch(module, "OBJECT", module.OBJECT.with_name("nix.bpf.o"))
        for probe in (programs.probe, adoption.probe, express.probe):
            with self.assertRaisesRegex(objects.ObjectMissing, "has no nix.bpf.o"):
                probe()


class CapabilityTests(DoctorCase):
    check = "capabilities"

    def test_cannot_work(self) -> None:
        self.host.having = frozenset((NET_RAW, BPF))
        self.assertEqual(self.only().says, "twistd, pid 4711, has no CAP_NET_ADMIN")
        self.host.pid = None
        self.assertIn("this process has no CAP_NET_ADMIN", self.only().says)

    def test_slower(self) -> None:
        self.host.having = frozenset((NET_RAW, NET_ADMIN))
        self.assertEqual(self.only().verdict, "warn")
        self.assertIn("CAP_BPF, CAP_PERFMON", self.only().says)
        self.assertEqual(self.only(configuration(datapath="raw")).verdict, "fine")
        self.assertEqual(self.only(configuration(datapath="ebpf")).verdict, "fail")

    def test_few_files(self) -> None:
        self.host.limit = 100
        self.assertEqual([each.verdict for each in self.findings()], ["fine", "warn"])


class UserTests(DoctorCase):
    check = "user"

    def test_known(self) -> None:
        self.assertEqual(
            self.only(configuration(user="btcp")), fine("the daemon changes to user btcp")
        )

    def test_unknown(self) -> None:
        self.assertEqual(
            self.only(configuration(user="nobody")).remedy,
            ("adduser --system --group --no-create-home nobody",),
        )

    def test_program_is_closed(self) -> None:
        closed = str(Path(network.__file__).resolve().parents[2])
        self.host.modes[closed] = 0o700
        self.assertEqual(self.only(configuration(user="btcp")).remedy[0], f"chmod o+x {closed}")


class SysctlTests(DoctorCase):
    check = "sysctls"

    def test_each(self) -> None:
        for name, value, verdict, right in (
            ("net/ipv4/conf/all/rp_filter", "1", "fail", "net.ipv4.conf.all.rp_filter=2"),
            ("net/ipv4/tcp_syncookies", "0", "warn", "net.ipv4.tcp_syncookies=1"),
            ("net/ipv4/tcp_syncookies", "2", "warn", "net.ipv4.tcp_syncookies=1"),
            ("net/ipv4/tcp_rfc1337", "1", "warn", "net.ipv4.tcp_rfc1337=0"),
            ("net/ipv4/tcp_sack", "0", "warn", "net.ipv4.tcp_sack=1"),
            ("net/ipv4/tcp_timestamps", "0", "warn", "net.ipv4.tcp_timestamps=1"),
            ("net/ipv4/tcp_window_scaling", "0", "warn", "net.ipv4.tcp_window_scaling=1"),
            ("net/core/somaxconn", "128", "warn", "net.core.somaxconn=4096"),
        ):
            self.host.files = {f"/proc/sys/{name}": value}
            finding = self.only(None)
            self.assertEqual(finding.verdict, verdict, name)
            self.assertEqual(finding.remedy[0], f"sysctl -w {right}")

    def test_good(self) -> None:
        self.host.files = {
            "/proc/sys/net/ipv4/conf/all/rp_filter": "2",
            "/proc/sys/net/ipv4/tcp_syncookies": "1",
            "/proc/sys/net/core/somaxconn": "4096",
            "/proc/sys/net/ipv4/tcp_timestamps": "1",
        }
        self.assertEqual(self.only().verdict, "fine")


class DeviceTests(DoctorCase):
    check = "device"

    def give(self, **changes: Any) -> None:
        self.host.held["eth0"] = evolve(self.host.held["eth0"], **changes)

    def test_address_of_another_host(self) -> None:
        self.give(addresses=frozenset(CONFIG.own.addresses[:1]))
        self.assertIn("no device has 2001:db8:2::11", self.only().says)

    def test_no_address(self) -> None:
        self.give(addresses=frozenset())
        self.assertEqual([each.verdict for each in self.findings()], ["fail", "fail"])

    def test_no_such_device(self) -> None:
        self.assertEqual(self.only(configuration(device="eth7")).says, "there is no device eth7")

    def test_down(self) -> None:
        self.give(up=False)
        self.assertEqual(self.only(), fail("eth0 is down", "ip link set eth0 up"))

    def test_no_ethernet(self) -> None:
        self.give(ethernet=False)
        self.assertEqual(self.only().says, "eth0 is not an Ethernet device")


class OffloadTests(DoctorCase):
    check = "offloads"

    def say(self, **features: str) -> Finding:
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in features.items()]
        self.host.outputs["ethtool -k eth0"] = Output(0, "Features for eth0:\n" + "\n".join(lines))
        return self.only()

    def test_joining(self) -> None:
        self.assertEqual(self.say(large_receive_offload="on").remedy, ("ethtool -K eth0 lro off",))
        self.assertEqual(self.say(large_receive_offload="off [fixed]").verdict, "fine")

    def test_slow(self) -> None:
        slow = {"tcp_segmentation_offload": "off", "tx_checksumming": "off"}
        self.assertEqual(self.say(**slow).remedy, ("ethtool -K eth0 tso on tx on",))

    def test_no_program(self) -> None:
        self.host.outputs["ethtool"] = Output(127, "ethtool is missing")
        self.assertEqual(self.only().remedy, ("apt-get install ethtool",))


class SharedTests(DoctorCase):
    check = "shared"
    moving: ClassVar[Config] = evolve(CONFIG, listeners=(Listener("shop", 80, (_VIP,), 8081),))

    def test_elsewhere(self) -> None:
        self.assertEqual(self.only(self.moving), fine("192.0.2.100 is not on this host"))

    def test_here(self) -> None:
        self.host.held["eth0"] = evolve(self.host.held["eth0"], addresses=OWN | {_VIP})
        self.assertIn("this host announces it", self.only(self.moving).says)

    def test_on_lo(self) -> None:
        """
        Then ARP must not tell of it.
        """
        self.host.held["lo"] = evolve(self.host.held["lo"], addresses=frozenset((_VIP,)))
        self.assertEqual(
            self.only(self.moving).remedy,
            (
                "sysctl -w net.ipv4.conf.all.arp_ignore=1",
                "sysctl -w net.ipv4.conf.all.arp_announce=2",
            ),
        )
        self.host.files["/proc/sys/net/ipv4/conf/eth0/arp_ignore"] = "1"
        self.host.files["/proc/sys/net/ipv4/conf/all/arp_announce"] = "2"
        self.assertEqual(self.only(self.moving).verdict, "fine")


_RULESET = """table inet filter {
\tchain input {
\t\ttype filter hook input priority filter; policy drop;
\t\tiifname "lo" accept
\t}
\tchain output {
\t\ttype filter hook output priority filter; policy accept;
\t}
}"""


class FirewallTests(DoctorCase):
    check = "firewall"

    def test_dropping(self) -> None:
        self.host.outputs["nft list ruleset"] = Output(0, _RULESET)
        remedy = self.only().remedy
        self.assertEqual(remedy[0], "nft add table inet btcp-notrack")
        rule = "insert rule inet filter input tcp dport { 8080 } ct state untracked accept"
        self.assertEqual(remedy[-1], f"nft '{rule}'")

    def test_dropping_but_for_us(self) -> None:
        """
        Only the raw datapath gives all packets to the origin through btcp0.
        """
        self.host.outputs["nft list ruleset"] = Output(0, _RULESET.replace('"lo"', '"btcp0"'))
        self.assertEqual(self.only(configuration(datapath="raw")).verdict, "fine")
        self.assertEqual(self.only().verdict, "warn")

    def test_own_table_is_no_exemption(self) -> None:
        """
        The name of the device is in the rules of the daemon itself.
        """
        own = 'table netdev btcp {\n\tchain ingress {\n\t\tfwd to "btcp0"\n\t}\n}\n'
        self.host.outputs["nft list ruleset"] = Output(0, own + _RULESET)
        self.assertEqual(self.only(configuration(datapath="raw")).verdict, "warn")

    def test_exempt_from_connection_tracking(self) -> None:
        accepting = _RULESET.replace('iifname "lo"', "tcp dport 8080 ct state untracked")
        self.host.outputs["nft list ruleset"] = Output(0, accepting)
        self.assertEqual(self.only().verdict, "warn")
        table = "table inet btcp-notrack {\n}\n"
        self.host.outputs["nft list ruleset"] = Output(0, table + accepting)
        self.assertEqual(self.only().verdict, "fine")

    def test_new_connections_without_a_syn(self) -> None:
        rule = "tcp flags & (fin | syn | rst | ack) != syn ct state new counter packets 0 drop"
        stateful = _RULESET.replace("policy drop", "policy accept")
        self.host.outputs["nft list ruleset"] = Output(0, stateful)
        self.assertEqual(self.only().verdict, "fine")
        stateful = stateful.replace('iifname "lo" accept', rule)
        self.host.outputs["nft list ruleset"] = Output(0, stateful)
        self.assertEqual(self.only().verdict, "warn")
        self.host.outputs["nft list ruleset"] = Output(
            0, "table inet btcp-notrack {\n}\n" + stateful
        )
        self.assertEqual(self.only().verdict, "fine")


class ControlTests(DoctorCase):
    check = "control"

    def test_ours(self) -> None:
        self.assertEqual(self.only().says, "twistd listens on 192.0.2.11:7311")
        self.host.deaf["192.0.2.11", 7311] = "Connection refused"
        self.assertEqual(self.only().verdict, "fail")

    def test_free_or_not(self) -> None:
        self.host.pid = None
        self.assertEqual(self.only().says, "192.0.2.11:7311 is free")
        self.host.busy = "Address already in use"
        self.assertEqual(self.only().remedy, ("ss -ltnp 'sport = :7311'",))


class OriginTests(DoctorCase):
    check = "origins"

    def test_one_address_only(self) -> None:
        self.host.deaf["2001:db8:2::11", 8080] = "Connection refused"
        first, second = self.findings()
        self.assertEqual(first.says, "no origin at [2001:db8:2::11]:8080: Connection refused")
        self.assertIn("origins answer at 192.0.2.11:8080; clients use another port", second.says)

    def test_at_the_port_of_the_listener(self) -> None:
        self.host.deaf.clear()
        same = configuration(listeners={"web": {"port": 80, "origin": 80}})
        says = "origins answer at 192.0.2.11:80, [2001:db8:2::11]:80"
        self.assertEqual(self.only(same), fine(says))


class ListenerTests(DoctorCase):
    check = "listeners"

    def test_hidden_program(self) -> None:
        del self.host.deaf["192.0.2.11", 80]
        self.assertEqual(self.only().remedy, ("ss -ltnp 'sport = :80'",))

    def test_origin_at_the_same_port(self) -> None:
        del self.host.deaf["192.0.2.11", 80]
        same = configuration(listeners={"web": {"port": 80, "origin": 80}})
        self.assertEqual(self.only(same).verdict, "fine")


class CertificateTests(DoctorCase):
    check = "certificates"

    def test_none(self) -> None:
        config = evolve(CONFIG, control=evolve(CONFIG.control, credentials=None))
        self.assertEqual(self.only(config).verdict, "warn")

    def test_unusable(self) -> None:
        self.host.untrusted = "/e/node.key is not the key of /e/node.crt"
        self.assertEqual(self.only().says, self.host.untrusted)

    def test_ends(self) -> None:
        self.assertEqual(self.only().says, "for node a, 100 days left")
        self.host.ends = datetime.now(UTC) + timedelta(days=3, hours=1)
        self.assertEqual(self.only().verdict, "warn")
        self.assertIn("btcp ca renew", self.only().remedy[0])

    def test_open_key(self) -> None:
        self.host.modes["/e/node.key"] = 0o604
        self.assertEqual(self.findings()[0].remedy, ("chmod 0600 /e/node.key",))

    def test_key_that_the_user_cannot_read(self) -> None:
        """
        It is read while the daemon is root, and not a second time.
        """
        first, _ = self.findings(evolve(CONFIG, user="btcp"))
        self.assertEqual(first.remedy, ("chown btcp /e/node.key",))
        self.host.users["btcp"] = (12, 0)
        self.host.modes["/e/node.key"] = 0o640
        self.assertEqual(self.only(evolve(CONFIG, user="btcp")).verdict, "fine")


class PeerTests(DoctorCase):
    check = "peers"

    def test_as_it_should_be(self) -> None:
        self.assertEqual([each.verdict for each in self.findings()], ["fine", "fine"])

    def test_wrong(self) -> None:
        self.host.wrong_peers["c"] = "the certificate is not for c.btcp.internal but for b"
        good, bad = self.findings()
        self.assertIn("node b answers at 192.0.2.12, with its certificate", good.says)
        self.assertIn("node c, 192.0.2.13 port 7311: the certificate is not for", bad.says)

    def test_insecure(self) -> None:
        config = evolve(CONFIG, control=evolve(CONFIG.control, credentials=None))
        self.host.deaf["192.0.2.12", 7311] = "Connection refused"
        bad, good = self.findings(config)
        self.assertEqual((bad.verdict, good.verdict), ("fail", "fine"))

    def test_before_first_start(self) -> None:
        """
        While the own daemon does not run, an unreachable peer is a warning, in both families and
        with and without TLS: C{btcp doctor && systemctl start btcp} has to start a new cluster.
        """
        self.host.pid = None
        insecure = evolve(CONFIG, control=evolve(CONFIG.control, credentials=None))
        for reason in ("Connection refused", "no answer", "No route to host"):
            self.host.deaf.update({(f"192.0.2.1{each}", 7311): reason for each in (2, 3)})
            for config in (CONFIG, insecure):
                found = self.findings(config)
                self.assertEqual([each.verdict for each in found], ["warn", "warn"])
                self.assertIn(reason, found[0].says)
            self.assertFalse(failed(list(examine(self.host, CONFIG))))

    def test_wrong_certificate_before_first_start(self) -> None:
        self.host.pid = None
        self.host.wrong_peers["c"] = "the certificate is not for c.btcp.internal but for b"
        self.assertEqual([each.verdict for each in self.findings()], ["fine", "fail"])

    def test_own_certificate_unusable(self) -> None:
        """
        That is another check's to say; here it is whether anybody is there.
        """
        self.host.untrusted = "odd"
        self.assertEqual([each.verdict for each in self.findings()], ["fine", "fine"])


class MtuTests(DoctorCase):
    check = "mtu"

    def test_smaller_there(self) -> None:
        def echo(address: str, size: int) -> Echo:
            small = address != "192.0.2.12" or size < 1500
            return Echo.ANSWERED if small else Echo.SILENT

        self.host.echoes = echo
        bad, good = self.findings()
        self.assertIn("packets of 1500 octets do not reach node b", bad.says)
        self.assertEqual(good, fine("packets of 1500 octets reach c and come back"))

    def test_silent(self) -> None:
        self.host.echoes = lambda address, size: Echo.SILENT
        self.assertEqual([each.verdict for each in self.findings()], ["warn", "warn"])

    def test_not_permitted(self) -> None:
        self.host.echoes = lambda address, size: Echo.IMPOSSIBLE
        self.assertEqual(self.only().verdict, "warn")


class ClockTests(DoctorCase):
    check = "clock"

    def test_skew(self) -> None:
        self.host.skews = {"192.0.2.12": 7.0, "192.0.2.13": -3600.0}
        verdicts = [each.verdict for each in self.findings()]
        self.assertEqual(verdicts, ["warn", "fail", "fine"])
        self.assertEqual(self.findings()[-1].says, "clocks of other nodes: b +7.0 s, c -3600.0 s")

    def test_coarse(self) -> None:
        path = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
        self.host.files[path] = "jiffies"
        self.assertEqual(self.findings()[0].verdict, "warn")


class DaemonTests(DoctorCase):
    check = "daemon"

    def test_not_running(self) -> None:
        self.host.pid = None
        self.assertEqual(self.only(), warn("twistd is not running", "systemctl start btcp"))

    def test_lost_link(self) -> None:
        self.host.states["c"] = "down"
        self.assertEqual(self.only().says, "twistd, pid 4711: no link to c")

    def test_restart_would_reset(self) -> None:
        """
        Only the eBPF datapath can keep connections, and an earlier version does not report it.
        """
        self.host.info["resumes"] = False
        linked, warned = self.findings()
        self.assertEqual((linked.verdict, warned.verdict), ("fine", "warn"))
        self.assertIn("CAP_SYS_ADMIN", warned.says)
        for info in ({"datapath": "raw", "resumes": False}, {"datapath": "ebpf"}):
            self.host.info = dict(info)
            self.assertEqual(self.only().verdict, "fine")

    def test_hangs(self) -> None:
        def query(path: str, what: str) -> object:
            raise TimeoutError("timed out")

        self.patch(self.host, "query", query)
        self.assertEqual(self.only().remedy, ("kill -9 4711",))


class RemainsTests(DoctorCase):
    check = "remains"

    def leave(self) -> None:
        self.host.outputs["nft list tables"] = Output(0, "table netdev btcp")
        self.host.tc = {"ingress": [(2940, "btcp_ingress"), (1, "other")], "egress": []}
        self.host.modes["/run/x/btcp.sock"] = 0o600

    def test_of_a_daemon_that_runs(self) -> None:
        self.assertEqual(self.only().verdict, "fine")

    def test_of_a_daemon_with_the_raw_datapath(self) -> None:
        self.host.tc = {}
        self.host.outputs["nft list table netdev btcp"] = Output(0, 'fwd to "btcp0"\n' * 8)
        self.assertEqual(self.only(configuration(datapath="raw")).verdict, "fine")
        self.host.outputs["nft list table netdev btcp"] = Output(0, "chain ingress { }")
        self.assertEqual(self.only(configuration(datapath="raw")).verdict, "fail")
        self.host.outputs["nft list table netdev btcp"] = Output(1, "No such file or directory")
        self.assertEqual(self.only(configuration(datapath="raw")).verdict, "fail")

    def test_programs_of_a_running_daemon_are_gone(self) -> None:
        self.host.tc = {"ingress": [(2940, "btcp_ingress")]}
        self.assertIn("tc program btcp_egress of the running daemon", self.only().says)
        self.host.tc = {}
        self.assertIn("no traffic reaches the running daemon", self.only().says)

    def test_device_of_a_running_daemon_is_gone(self) -> None:
        self.host.tap = Device("btcp0", 1500, False, True, frozenset())
        self.assertIn("is down", self.only().says)
        self.host.tap = None
        self.assertIn("does not exist", self.only().says)

    def test_daemon_repaired_the_host(self) -> None:
        self.host.counters = {"host.repaired.table": 2, "host.repaired.tap": 1, "accept.syn": 7}
        good, repaired = self.findings()
        self.assertEqual((good.verdict, repaired.verdict), ("fine", "warn"))
        self.assertIn("table 2, tap 1", repaired.says)

    def test_of_a_crash(self) -> None:
        self.host.pid = None
        self.leave()
        typed = [each.remedy[0] for each in self.findings()]
        self.assertEqual(
            typed,
            [
                "nft delete table netdev btcp",
                "tc filter del dev eth0 ingress pref 2940",
                "rm /run/x/btcp.sock",
            ],
        )

    def test_nothing(self) -> None:
        self.host.pid = None
        self.assertEqual(self.only(), fine("no remains of a killed daemon"))

    def test_another_daemon(self) -> None:
        self.host.pid = None
        self.host.held["btcp0"] = Device("btcp0", 1500, True, True, frozenset())
        self.assertEqual(self.only().verdict, "fail")


class ExaminationTests(SynchronousTestCase):
    def test_all_is_well(self) -> None:
        results = list(examine(FakeHost(), CONFIG))
        self.assertEqual({each.check for each in results}, set(NAMES))
        self.assertFalse(failed(results))

    def test_without_a_configuration(self) -> None:
        results = list(examine(FakeHost(), None))
        self.assertEqual(results[0].check, "tun")
        self.assertNotIn("device", {each.check for each in results})

    def test_look_that_fails(self) -> None:
        """
        It is one finding, and the others follow.
        """
        host = FakeHost()

        def devices() -> Mapping[str, Device]:
            raise OSError("netlink is odd")

        self.patch(host, "devices", devices)
        results = {each.check: each.finding for each in examine(host, CONFIG)}
        self.assertEqual(results["device"], fail("the check failed: OSError('netlink is odd')"))
        self.assertEqual(results["control"].verdict, "fine")

    def test_text(self) -> None:
        lines = list(text([Checked("tun", fine("good")), Checked("mtu", fail("bad", "do", "it"))]))
        self.assertEqual(
            lines,
            [
                "fine  tun           good",
                "FAIL  mtu           bad",
                "                    do",
                "                    it",
            ],
        )

    def test_json(self) -> None:
        self.assertEqual(
            Checked("mtu", warn("odd", "do")).shown(),
            {"check": "mtu", "verdict": "warn", "says": "odd", "remedy": ["do"]},
        )
