package compiler

import "github.com/hopgate/hopgate/lang"

// lintCodes documents what Lint finds.
func lintCodes() []lang.Code {
	return []lang.Code{
		{
			Name: codeOverlappingEntries, Severity: lang.Warning, Title: "an entry of a set lies within another",
			Explanation: "The entries of a set are joined, so what overlaps is said twice. Often one of the two has the wrong prefix length or a typing error.",
			Bad: example(`set lan = { 10.0.0.0/8, 10.1.0.0/16 }
  rule lan: allow if remote_address in $lan`),
			Good: example(`set lan = { 10.0.0.0/8, 172.16.0.0/12 }
  rule lan: allow if remote_address in $lan`),
		},
		{
			Name: codeNeverTrue, Severity: lang.Warning, Title: "a condition, or a part of one, is never true",
			Explanation: "No connection meets it: `remote_port == 80 and remote_port == 443` asks for two ports at once. Dynamic sets and named interfaces count as able to be anything.",
			Bad:         example(`rule web: allow if remote_port == 80 and remote_port == 443`),
			Good:        example(`rule web: allow if remote_port in { 80, 443 }`),
		},
		{
			Name: codeAlwaysTrue, Severity: lang.Warning, Title: "a condition, or a part of one, is always true",
			Explanation: "It holds for every connection and can be left out, or does not say what was meant: a port is one or the other, so `remote_port != 80 or remote_port != 443` excludes nothing. A rule for everything is written without a condition. A test of a field that can be unknown is not always true.",
			Bad:         example(`rule not-web: allow if remote_port != 80 or remote_port != 443`),
			Good:        example(`rule not-web: allow if remote_port not in { 80, 443 }`),
		},
		{
			Name: codeAfterUnconditional, Severity: lang.Warning, Title: "a rule after one that matches everything",
			Explanation: "The first rule that matches decides. A rule without a condition matches every connection, so those after it have no effect.",
			Bad: example(`rule all: allow log
  rule smb: deny if remote_port == 445`),
			Good: example(`rule smb: deny if remote_port == 445
  rule all: allow log`),
		},
		{
			Name: codeShadowedRule, Severity: lang.Warning, Title: "a rule that never decides",
			Explanation: "Wherever it matches, a rule before it matches too: the one that is named, or all of those together. Move it up, or remove it.",
			Bad: example(`rule lan: allow if remote_address == 10.0.0.0/8
  rule printer: allow log if remote_address == 10.0.0.9 and remote_port == 631`),
			Good: example(`rule printer: allow log if remote_address == 10.0.0.9 and remote_port == 631
  rule lan: allow if remote_address == 10.0.0.0/8`),
		},
		{
			Name: codeShadowedNow, Severity: lang.Info, Title: "a rule that never decides while dynamic sets hold what they start with",
			Explanation: "Whether the rule is shadowed depends on the contents of a dynamic set, which can change while the policy runs. It is so at the start.",
			Bad: example(`set trusted dynamic = { 10.0.0.0/8 }
  rule trusted: allow if remote_address in $trusted
  rule printer: allow log if remote_address == 10.0.0.9`),
			Good: example(`set trusted dynamic = { 10.0.0.0/8 }
  rule printer: allow log if remote_address == 10.0.0.9
  rule trusted: allow if remote_address in $trusted`),
		},
		{
			Name: codeRedundantRule, Severity: lang.Warning, Title: "a rule without which nothing changes",
			Explanation: "Every connection that it decides would be decided the same without it: the same verdict, logged or not as before. All rules so reported can be removed together.",
			Bad:         example(`rule smb: deny if remote_port == 445`),
			Good:        example(`rule smb: deny log if remote_port == 445`),
		},
		{
			Name: codePartlyShadowed, Severity: lang.Warning, Title: "a rule of the opposite verdict decides some of what a rule matches",
			Explanation: "That is how exceptions are written, so it is reported only by `check --pedantic`.",
			Bad: example(`rule lan: allow if remote_address == 10.0.0.0/8
  rule smb: deny log if remote_port == 445`),
			Good: example(`rule lan: allow if remote_address == 10.0.0.0/8 and remote_port != 445
  rule smb: deny log if remote_port == 445`),
		},
		{
			Name: codeVacuousAssert, Severity: lang.Warning, Title: "an assert about no connection",
			Explanation: "Its condition is never true, so it holds whatever the rules say.",
			Bad:         example(`assert no-web: never allow if remote_port == 80 and remote_port == 443`),
			Good:        example(`assert no-web: never allow if remote_port in { 80, 443 }`),
		},
		{
			Name: codeVacuousTest, Severity: lang.Warning, Title: "a test that asks what an earlier one asks",
			Explanation: "The same connection with the same expectation shows nothing new. Perhaps one of the two was meant to differ.",
			Bad: example(`test { remote_port = 80 } => deny
  test { remote_port = 80 } => deny`),
			Good: example(`test { remote_port = 80 } => deny
  test { remote_port = 443 } => deny`),
		},
		{
			Name: codeVPNByType, Severity: lang.Warning, Title: "an interface type or tunnel type taken for a VPN",
			Explanation: "Type 53 (prop-virtual) is that of WireGuardNT, Wintun and OpenVPN-DCO adapters, and of virtual switches and others besides; TAP adapters report 6 as any Ethernet card does; the tunnel type of all of them is `none`.",
			Bad:         example(`rule corp-vpn: allow if interface_type == prop-virtual`),
			Good: example(`interface vpn = alias "Corp VPN"
  rule corp-vpn: allow if next_hop == $vpn`),
		},
		{
			Name: codeNoHardPermit, Severity: lang.Info, Title: "allow hard on a host that has no hard permit",
			Explanation: "Only eBPF for Windows can permit a connection so that no other filter blocks it. Elsewhere `allow hard` is `allow`. `check --target linux` looks for it.",
			Bad:         example(`rule loopback: allow hard if interface_type == loopback`),
			Good:        example(`rule loopback: allow if interface_type == loopback`),
		},
		{
			Name: codeAllowComment, Severity: lang.Warning, Title: "a comment that means to silence a finding, and does not",
			Explanation: "It is `# hopgate: allow CODE reason`, on the statement or on the lines above it. The reason is for those who read the policy after you.",
			Bad: example(`rule smb: deny log if remote_port == 445
  # hopgate: allow redundant-rules as documentation
  rule web: deny log if remote_port == 80`),
			Good: example(`rule smb: deny log if remote_port == 445
  # hopgate: allow redundant-rule as documentation
  rule web: deny if remote_port == 80`),
		},
		{
			Name: codeLintLimit, Severity: lang.Info, Title: "a question that takes too long to answer",
			Explanation: "Whether a rule is shadowed or redundant is decided exactly, which takes too many steps where a great many rules overlap in several fields. The rule may be fine.",
		},
	}
}
