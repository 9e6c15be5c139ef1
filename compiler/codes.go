package compiler

import (
	"slices"

	"github.com/hopgate/hopgate/lang"
)

// The codes of what Check finds. The first are lang's, for the same mistakes found
// later or in a tree that was not parsed.
const (
	codeBadID          = "bad-id"
	codeEmpty          = "empty"
	codeLimit          = "limit"
	codeMissingVerdict = "missing-key"

	codeUnknownField      = "unknown-field"
	codeFieldNotInHook    = "field-not-in-hook"
	codeUnknownName       = "unknown-name"
	codeVPNInterfaceType  = "vpn-interface-type"
	codeBadNumber         = "bad-number"
	codeOutOfRange        = "out-of-range"
	codeReversedRange     = "reversed-range"
	codeBadPort           = "bad-port"
	codeBadTransport      = "bad-transport"
	codeBadAddress        = "bad-address"
	codeLeadingZero       = "leading-zero"
	codeAddressZone       = "address-zone"
	codeHostBits          = "host-bits"
	codeMappedAddress     = "mapped-address"
	codeMixedFamilies     = "mixed-families"
	codeBadEndpoint       = "bad-endpoint"
	codePortWithAddress   = "port-with-address"
	codeBadFamily         = "bad-family"
	codeBadLUID           = "bad-luid"
	codeBadValue          = "bad-value"
	codeNeverUnknown      = "never-unknown"
	codeNotAvailableValue = "not-available-value"
	codeBadOperator       = "bad-operator"
	codeUndefinedName     = "undefined-name"
	codeInterfaceKind     = "interface-kind"
	codeBadInterface      = "bad-interface"
	codeUnusedInterface   = "unused-interface"
	codeDuplicateName     = "duplicate-name"
	codeDuplicateRule     = "duplicate-rule"
	codeDuplicateAssert   = "duplicate-assert"
	codeMissingDefault    = "missing-default"
	codeEmptySet          = "empty-set"
	codeSetCycle          = "set-cycle"
	codeSetKind           = "set-kind"
	codeDynamicElement    = "dynamic-element"
	codeUnusedSet         = "unused-set"
	codeUnreadableFile    = "unreadable-file"
	codeImportCycle       = "import-cycle"
	codeImportConflict    = "import-conflict"
	codeUnknownRule       = "unknown-rule"
	codeNotOneValue       = "not-one-value"
	codeConflictingValues = "conflicting-values"
	codeUnboundInterface  = "unbound-interface"
)

// The codes of what Lint finds.
const (
	codeOverlappingEntries = "overlapping-entries"
	codeNeverTrue          = "never-true"
	codeAlwaysTrue         = "always-true"
	codeAfterUnconditional = "after-unconditional"
	codeShadowedRule       = "shadowed-rule"
	codeShadowedNow        = "shadowed-now"
	codeRedundantRule      = "redundant-rule"
	codePartlyShadowed     = "partly-shadowed"
	codeVacuousAssert      = "vacuous-assert"
	codeVacuousTest        = "vacuous-test"
	codeVPNByType          = "vpn-by-type"
	codeNoHardPermit       = "no-hard-permit"
	codeAllowComment       = "allow-comment"
	codeLintLimit          = "lint-limit"
)

// Codes documents the codes of what Check, Compile and Lint find, in the order of
// the work. Examples of more than one file are txtar archives, the policy first.
func Codes() []lang.Code { return slices.Concat(checkCodes(), lintCodes()) }

func checkCodes() []lang.Code {
	return []lang.Code{
		{
			Name: codeUnknownField, Title: "there is no such field",
			Explanation: "A condition or a test names a field that connections do not have.",
			Bad:         example(`rule smb: deny if remote_prot == 445`),
			Good:        example(`rule smb: deny if remote_port == 445`),
		},
		{
			Name: codeFieldNotInHook, Title: "the hook does not know the field",
			Explanation: "The next hop is chosen by the route of an outbound connection. Under `hook accept` only the interface of arrival is known, as `interface`.",
			Bad: example(`hook accept
  rule lan: allow if next_hop == ethernet_32773`),
			Good: example(`hook accept
  rule lan: allow if interface == ethernet_32773`),
		},
		{
			Name: codeUnknownName, Title: "no interface type, tunnel type or protocol has that name",
			Explanation: "Names are those of the IANA registries and of the Windows SDK, and a few short ones. Letter case matters. Any number is accepted too.",
			Bad:         example(`rule wireless: deny if interface_type == WiFi`),
			Good:        example(`rule wireless: deny if interface_type == wifi`),
		},
		{
			Name: codeVPNInterfaceType, Title: "no interface type tells a VPN",
			Explanation: "WireGuardNT, Wintun and OpenVPN-DCO report type 53 (propVirtual) as other virtual adapters do, TAP adapters report 6 as any Ethernet card does, and all of them have the tunnel type `none`. Name the adapter instead.",
			Bad:         example(`rule vpn: allow if interface_type == vpn`),
			Good: example(`interface vpn = alias "Corp VPN"
  rule vpn: allow if next_hop == $vpn`),
		},
		{
			Name: codeBadNumber, Title: "not a number",
			Explanation: "A number is decimal digits. Leading zeros mean nothing: `010` is ten. Other bases, signs, exponents and separators are not numbers.",
			Bad:         example(`rule index: deny if sub_interface == 1e3`),
			Good:        example(`rule index: deny if sub_interface == 1000`),
		},
		{
			Name: codeOutOfRange, Title: "the number is too large",
			Explanation: "Ports end at 65535, protocols at 255, interface types and the like at 4294967295.",
			Bad:         example(`rule port: deny if remote_port == 65536`),
			Good:        example(`rule port: deny if remote_port == 65535`),
		},
		{
			Name: codeReversedRange, Title: "the range ends before it starts",
			Explanation: "Both ends of a range belong to it; the lower one comes first.",
			Bad:         example(`rule ports: deny if remote_port in 90-80`),
			Good:        example(`rule ports: deny if remote_port in 80-90`),
		},
		{
			Name: codeBadPort, Title: "not a port",
			Explanation: "A port is a number or a range, with an optional `/tcp` or `/udp`. There are no names of services.",
			Bad:         example(`rule web: allow if remote_port == https`),
			Good:        example(`rule web: allow if remote_port == 443/tcp`),
		},
		{
			Name: codeBadTransport, Title: "the word after the port is neither tcp nor udp",
			Explanation: "`443/tcp` means port 443 and protocol tcp. Other protocols are tested by `protocol`.",
			Bad:         example(`rule sctp: deny if remote_port == 443/sctp`),
			Good:        example(`rule sctp: deny if remote_port == 443 and protocol == sctp`),
		},
		{
			Name: codeBadAddress, Title: "not an IP address",
			Explanation: "An address is IPv4 or IPv6, alone, as a prefix `10.0.0.0/8` or as a range `10.0.0.1-10.0.0.9`. Host names are not looked up. Brackets are for an IPv6 address with a port.",
			Bad:         example(`rule server: allow if remote_address == example.com`),
			Good:        example(`rule server: allow if remote_address == 192.0.2.7`),
		},
		{
			Name: codeLeadingZero, Title: "an octet of an IPv4 address has a leading zero",
			Explanation: "Some programs read `010` in an address as octal 8, others as ten. A policy must not depend on that.",
			Bad:         example(`rule server: allow if remote_address == 192.0.2.010`),
			Good:        example(`rule server: allow if remote_address == 192.0.2.10`),
		},
		{
			Name: codeAddressZone, Title: "the address has a zone",
			Explanation: "The zone of `fe80::1%eth0` names an interface. A set file can spell it, a policy cannot test it: test the interface apart.",
			Bad: `-- example.hop --
policy example {
  default deny
  set routers = file "routers.txt"
  rule routers: allow if remote_address in $routers
}
-- routers.txt --
fe80::1%eth0
`,
			Good: `-- example.hop --
policy example {
  default deny
  set routers = file "routers.txt"
  rule routers: allow if remote_address in $routers
}
-- routers.txt --
fe80::1
`,
		},
		{
			Name: codeHostBits, Title: "the prefix has bits set after its length",
			Explanation: "`10.0.0.1/8` could mean the network 10.0.0.0/8 or the host 10.0.0.1.",
			Bad:         example(`rule lan: allow if remote_address in 10.0.0.1/8`),
			Good:        example(`rule lan: allow if remote_address in 10.0.0.0/8`),
		},
		{
			Name: codeMappedAddress, Title: "an IPv4-mapped IPv6 address",
			Explanation: "`::ffff:10.0.0.1` is the IPv4 address 10.0.0.1 everywhere: connections that use it are IPv4 connections, and IPv6 prefixes never match them.",
			Bad:         example(`rule server: allow if remote_address == ::ffff:10.0.0.1`),
			Good:        example(`rule server: allow if remote_address == 10.0.0.1`),
		},
		{
			Name: codeMixedFamilies, Title: "IPv4 and IPv6 where one family belongs",
			Explanation: "A range stays within one address family, and both ends of a connection are of one family.",
			Bad:         example(`test { remote = 10.0.0.1, local = ::1 } => deny`),
			Good:        example(`test { remote = 10.0.0.1, local = 10.0.0.2 } => deny`),
		},
		{
			Name: codeBadEndpoint, Title: "an address and a port that cannot be joined",
			Explanation: "`10.0.0.1:443/tcp` and `[2001:db8::1]:443/tcp` join one address with one port. Prefixes and ranges are tested apart.",
			Bad:         example(`rule web: allow if remote == 10.0.0.0/8:443`),
			Good:        example(`rule web: allow if remote == 10.0.0.0/8 and remote_port == 443`),
		},
		{
			Name: codePortWithAddress, Title: "a port where only an address belongs",
			Explanation: "`remote_address` and `local_address` are addresses alone; `remote` and `local` take a port too.",
			Bad:         example(`rule web: allow if remote_address == 10.0.0.1:443`),
			Good:        example(`rule web: allow if remote == 10.0.0.1:443`),
		},
		{
			Name: codeBadFamily, Title: "not an address family",
			Explanation: "The families are ipv4 and ipv6.",
			Bad:         example(`rule old: deny if family == 4`),
			Good:        example(`rule old: deny if family == ipv4`),
		},
		{
			Name: codeBadLUID, Title: "not an interface LUID",
			Explanation: "A LUID is `0x` and hexadecimal digits, `ethernet_32773` as Windows spells it, or `iftype53_32768` with the number of the interface type. Most policies name the interface instead.",
			Bad:         example(`rule lan: allow if next_hop == 32773`),
			Good:        example(`rule lan: allow if next_hop == ethernet_32773`),
		},
		{
			Name: codeBadValue, Title: "not a value of any field",
			Explanation: "The set is compared with no field, so that its kind is not known; but no field could have this value.",
			Bad:         example(`set hosts = { 10.0.0.0/33 }`),
			Good: example(`set hosts = { 10.0.0.0/24 }
  rule hosts: allow if remote_address in $hosts`),
		},
		{
			Name: codeNeverUnknown, Title: "the field is always known",
			Explanation: "Only interface_type, tunnel_type, next_hop, sub_interface and interface can be missing from what a host knows of a connection.",
			Bad:         example(`rule port: deny if remote_port == unknown`),
			Good:        example(`rule type: deny if interface_type == unknown`),
		},
		{
			Name: codeNotAvailableValue, Severity: lang.Warning, Title: "the value means that the host does not know",
			Explanation: "Hosts say 0 or all ones for what is not available. The field is unknown then, so that a comparison with the number is never true.",
			Bad:         example(`rule type: deny if interface_type == 0`),
			Good:        example(`rule type: deny if interface_type == unknown`),
		},
		{
			Name: codeBadOperator, Title: "an order where there is none",
			Explanation: "`<`, `<=`, `>` and `>=` compare ports, sub_interface and compartment with one plain number.",
			Bad:         example(`rule low: deny if remote_port < 1024/tcp`),
			Good:        example(`rule low: deny if remote_port < 1024 and protocol == tcp`),
		},
		{
			Name: codeUndefinedName, Title: "no set or interface has that name",
			Explanation: "`$name` is a set or an interface of the file or of one it imports.",
			Bad: example(`set ports = { 22 }
  rule ssh: allow if remote_port in $prots`),
			Good: example(`set ports = { 22 }
  rule ssh: allow if remote_port in $ports`),
		},
		{
			Name: codeInterfaceKind, Title: "an interface compared with another field",
			Explanation: "`$name` of an interface stands for its LUID, which next_hop and interface have.",
			Bad: example(`interface vpn = alias "Corp VPN"
  rule vpn: allow if interface_type == $vpn`),
			Good: example(`interface vpn = alias "Corp VPN"
  rule vpn: allow if interface == $vpn`),
		},
		{
			Name: codeBadInterface, Title: "not a way to find an interface",
			Explanation: "An interface has an alias, a name, a LUID or a GUID, and it is not empty.",
			Bad: example(`interface vpn = guid "Corp VPN"
  rule vpn: allow if next_hop == $vpn`),
			Good: example(`interface vpn = alias "Corp VPN"
  rule vpn: allow if next_hop == $vpn`),
		},
		{
			Name: codeUnusedInterface, Severity: lang.Warning, Title: "nothing uses the interface",
			Explanation: "No rule, assert or set names it. Imported interfaces may go unused.",
			Bad:         example(`interface vpn = alias "Corp VPN"`),
			Good: example(`interface vpn = alias "Corp VPN"
  rule vpn: allow if next_hop == $vpn`),
		},
		{
			Name: codeDuplicateName, Title: "two sets or interfaces of one name",
			Explanation: "Sets and interfaces share one name space, with those of imported files.",
			Bad: example(`set web = { 80 }
  set web = { 443 }
  rule web: allow if remote_port in $web`),
			Good: example(`set web = { 80, 443 }
  rule web: allow if remote_port in $web`),
		},
		{
			Name: codeDuplicateRule, Title: "two rules of one id",
			Explanation: "The id is what counters, events and tests know a rule by. Imported rules count.",
			Bad: example(`rule web: allow if remote_port == 80
  rule web: allow if remote_port == 443`),
			Good: example(`rule web: allow if remote_port == 80
  rule web-tls: allow if remote_port == 443`),
		},
		{
			Name: codeDuplicateAssert, Title: "two asserts of one id",
			Explanation: "The id is what a failed assert is reported by. Rules and asserts may share an id.",
			Bad: example(`assert safe: never allow if remote_port == 80
  assert safe: never allow if remote_port == 23`),
			Good: example(`assert safe: never allow if remote_port in { 23, 80 }`),
		},
		{
			Name: codeMissingDefault, Title: "the policy has no default",
			Explanation: "What happens to a connection that no rule matches must be said. A file that is only imported needs none.",
			Bad: `-- example.hop --
policy example {
  rule web: allow if remote_port == 443
}
`,
			Good: example(`rule web: allow if remote_port == 443`),
		},
		{
			Name: codeEmptySet, Title: "a constant set without elements",
			Explanation: "Nothing would ever be in it. A set that fills while the policy runs is dynamic.",
			Bad: `-- example.hop --
policy example {
  default deny
  set hosts = file "hosts.txt"
  rule hosts: allow if remote_address in $hosts
}
-- hosts.txt --
# none yet
`,
			Good: `-- example.hop --
policy example {
  default deny
  set hosts dynamic = file "hosts.txt"
  rule hosts: allow if remote_address in $hosts
}
-- hosts.txt --
# none yet
`,
		},
		{
			Name: codeSetCycle, Title: "a set that holds itself",
			Explanation: "Directly, or through sets that it names.",
			Bad: example(`set web = { 80, $tls }
  set tls = { 443, $web }
  rule web: allow if remote_port in $web`),
			Good: example(`set web = { 80, $tls }
  set tls = { 443 }
  rule web: allow if remote_port in $web`),
		},
		{
			Name: codeSetKind, Title: "one set compared with two kinds of fields",
			Explanation: "The first field that a set is compared with says what its elements are.",
			Bad: example(`set ids = { 6, 17 }
  rule a: allow if protocol in $ids
  rule b: allow if remote_port in $ids`),
			Good: example(`set ids = { 6, 17 }
  set ports = { 6, 17 }
  rule a: allow if protocol in $ids
  rule b: allow if remote_port in $ports`),
		},
		{
			Name: codeDynamicElement, Title: "an element that the set cannot hold",
			Explanation: "A dynamic set holds addresses, prefixes, ranges, plain ports, numbers and LUIDs. A constant set cannot hold a dynamic one.",
			Bad: example(`set web dynamic = { 443/tcp }
  rule web: allow if remote_port in $web`),
			Good: example(`set web dynamic = { 443 }
  rule web: allow if remote_port in $web and protocol == tcp`),
		},
		{
			Name: codeUnusedSet, Severity: lang.Warning, Title: "nothing uses the set",
			Explanation: "No rule, assert or set names it. Imported sets may go unused.",
			Bad:         example(`set web = { 80 }`),
			Good: example(`set web = { 80 }
  rule web: allow if remote_port in $web`),
		},
		{
			Name: codeUnreadableFile, Title: "a file that cannot be read",
			Explanation: "The path of an import or of a set is relative to the file that names it.",
			Bad: `-- example.hop --
import "base.hop"
policy example {
  default deny
}
`,
			Good: `-- example.hop --
import "base.hop"
policy example {
  default deny
}
-- base.hop --
policy base {
}
`,
		},
		{
			Name: codeImportCycle, Title: "a file that imports itself",
			Explanation: "Directly, or through files that it imports.",
			Bad: `-- example.hop --
import "base.hop"
policy example {
  default deny
}
-- base.hop --
import "example.hop"
policy base {
}
`,
			Good: `-- example.hop --
import "base.hop"
policy example {
  default deny
}
-- base.hop --
policy base {
}
`,
		},
		{
			Name: codeImportConflict, Title: "an imported setting that differs",
			Explanation: "Rules are written for one hook and for one answer to the unknown. An imported `hook` or `on unknown` must be the importing policy's.",
			Bad: `-- example.hop --
import "base.hop"
policy example {
  default deny
}
-- base.hop --
policy base {
  on unknown fail-open
}
`,
			Good: `-- example.hop --
import "base.hop"
policy example {
  default deny
  on unknown fail-open
}
-- base.hop --
policy base {
  on unknown fail-open
}
`,
		},
		{
			Name: codeUnknownRule, Title: "a test expects a rule that there is not",
			Explanation: "`by` names a rule, or `default`.",
			Bad: example(`rule web: allow if remote_port == 443
  test { remote_port = 443 } => allow by wbe`),
			Good: example(`rule web: allow if remote_port == 443
  test { remote_port = 443 } => allow by web`),
		},
		{
			Name: codeNotOneValue, Title: "several values where a connection has one",
			Explanation: "A test describes one connection, which has one address and one port at each end.",
			Bad:         example(`test { remote = 10.0.0.0/8 } => deny`),
			Good:        example(`test { remote = 10.0.0.1 } => deny`),
		},
		{
			Name: codeConflictingValues, Title: "two values for one field",
			Explanation: "`remote` sets remote_address, and with a port remote_port; `443/tcp` sets protocol.",
			Bad:         example(`test { remote = 10.0.0.1:443/tcp, protocol = udp } => deny`),
			Good:        example(`test { remote = 10.0.0.1:443/udp } => deny`),
		},
		{
			Name: codeUnboundInterface, Title: "an interface without a LUID",
			Explanation: "Interfaces get new LUIDs, so policies name them. `run` and `policy load` ask the host; `compile` is told by `--bind NAME=LUID`.",
			Bad: example(`interface vpn = alias "Corp VPN"
  rule vpn: allow if next_hop == $vpn`),
			Good: example(`interface vpn = luid "iftype53_32768"
  rule vpn: allow if next_hop == $vpn`),
		},
	}
}

// example is a policy of the statements.
func example(statements string) string {
	return "policy example {\n  default deny\n  " + statements + "\n}\n"
}
