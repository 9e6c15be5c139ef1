package lang

import (
	"slices"
	"strings"
)

// The words a setting may have.
var (
	hooks          = [...]string{"connect", "accept"}
	modes          = [...]string{"enforce", "audit"}
	onUnknowns     = [...]string{"fail-closed", "fail-open"}
	interfaceKinds = [...]string{"alias", "luid", "guid", "name"}
	verdictWords   = [...]string{"allow", "allow hard", "deny"} // DSL
	verdictNames   = [...]string{"allow", "allow-hard", "deny"} // YAML
)

// fields lists what a condition may test. What the values of each mean is package
// compiler's business.
var fields = [...]struct{ name, doc string }{
	{"interface_type", "Type of the interface that the route selected (accept: of arrival): an IANA ifType, by name or number."},
	{"tunnel_type", "Encapsulation of that interface: an IANA tunnelType, by name or number; none is 0."},
	{"next_hop", "Next-hop interface: a LUID or $interface."},
	{"sub_interface", "Sub-interface index: a number or a range."},
	{"interface", "Local interface of the connection: a LUID or $interface."},
	{"remote_address", "Address of the other end: an address, a prefix or a range."},
	{"local_address", "Address of this end: an address, a prefix or a range."},
	{"remote_port", "Port of the other end: a number or a range, with /tcp or /udp perhaps."},
	{"local_port", "Port of this end: a number or a range, with /tcp or /udp perhaps."},
	{"remote", "Address of the other end, with a port and a protocol perhaps."},
	{"local", "Address of this end, with a port and a protocol perhaps."},
	{"protocol", "IP protocol, by name or number."},
	{"family", "Address family: ipv4 or ipv6."},
	{"compartment", "Windows network compartment: a number or a range; 0 on other hosts."},
}

func isField(s string) bool {
	for _, f := range fields {
		if f.name == s {
			return true
		}
	}
	return false
}

// knownValue reports a setting's value that is none of the words.
func (r *report) knownValue(w Word, setting string, values []string) bool {
	if slices.Contains(values, w.Text) && !w.Ref {
		return true
	}
	r.errorf(w.Span, codeUnknownValue, "unknown value `%s` for `%s`", shorten(w.Text), setting).Hint =
		didYouMean(w.Text, values, "it is ")
	return false
}

// once reports a setting that was given before, at the place first gives.
func (r *report) once(at Span, setting string, given bool, first func() Span) bool {
	if given {
		r.errorf(at, codeDuplicateKey, "`%s` is given twice", setting).Notes = []Note{{first(), "first given here"}}
	}
	return !given
}

// appendGiven adds to a test's values one for a field that has none yet.
func appendGiven(r *report, list []Given, g Given) []Given {
	i := slices.IndexFunc(list, func(h Given) bool { return h.Field.Text == g.Field.Text })
	if !r.once(g.Field.Span, g.Field.Text, i >= 0, func() Span { return list[i].Field.Span }) {
		return list
	}
	return append(list, g)
}

// isID reports whether s is [a-z][a-z0-9_-]*.
func isID(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (i == 0 || (c < '0' || c > '9') && c != '_' && c != '-') {
			return false
		}
	}
	return s != ""
}

// checkID reports a name that is no ID.
func checkID(r *report, w Word) {
	if isID(w.Text) && !w.Ref {
		return
	}
	text := w.Text
	if w.Ref {
		text = "$" + text
	}
	d := r.errorf(w.Span, codeBadID, "`%s` is not an id", shorten(text))
	d.Hint = "an id is a lower-case letter, then lower-case letters, digits, `-` and `_`"
	if better := idOf(w.Text); better != "" {
		d.Hint += ": `" + shorten(better) + "`"
	}
}

// checkRuleID reports a rule of the name under which default's decisions appear.
func checkRuleID(r *report, w Word) {
	if w.Text == "default" {
		r.errorf(w.Span, codeBadID, "no rule may be called `default`").Hint = "decisions of the default are reported under that name"
	}
}

// idOf makes an ID of a name that is nearly one, or returns "".
func idOf(s string) string {
	s = strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-':
			return c
		case c >= 'A' && c <= 'Z':
			return c - 'A' + 'a'
		}
		return '-'
	}, s)
	s = strings.Trim(strings.TrimLeft(s, "0123456789-_"), "-")
	if !isID(s) {
		return ""
	}
	return s
}

// isWord reports whether s can be written as one DSL literal.
func isWord(s string) bool {
	for i := range len(s) {
		if !isWordByte(s[i]) && (s[i] != '%' || i == 0) {
			return false
		}
	}
	return s != "" && (s[0] != ':' || strings.HasPrefix(s, "::")) && (!strings.HasSuffix(s, ":") || strings.HasSuffix(s, "::"))
}
