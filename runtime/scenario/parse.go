package scenario

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"

	"gopkg.in/yaml.v3"

	"github.com/hopgate/hopgate/lang"
)

// maxSize is the largest scenario file, in bytes.
const maxSize = 32 << 20

var (
	topKeys     = []string{"networks", "steps"}
	networkKeys = []string{"interface_type", "tunnel_type", "next_hop", "sub_interface", "interface"}
	name        = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)

	// stepKeys are the keys of each kind of step; the first is the one that
	// tells the kind.
	stepKeys = [...][]string{
		Move:     {"network", "expect", "by"},
		Connect:  {"connect", "flow", "expect", "by"},
		Accept:   {"accept", "flow", "expect", "by"},
		Redirect: {"redirect"},
		Close:    {"close"},
	}
)

// Parse reads a scenario file. The error is a lang.Diagnostics.
func Parse(filename string, text []byte) (*Scenario, error) {
	source := lang.NewSource(filename, text)
	r := newReader(source)
	s := &Scenario{Source: source}
	if len(text) > maxSize {
		r.errorf(r.place(1, 1), "limit", "the file has %d bytes; a scenario may have %d", len(text), maxSize)
		return nil, r.found
	}
	doc := r.document()
	if doc == nil {
		return nil, r.found
	}
	var steps []*yaml.Node
	for _, e := range r.mapping(doc, "a scenario", topKeys) {
		switch e.key.Text {
		case "networks":
			for _, n := range r.mapping(e.value, "`networks`", nil) {
				s.Networks = append(s.Networks, r.network(n))
			}
		case "steps":
			steps = r.list(e.value, "`steps`")
			if len(steps) == 0 && len(r.found) == 0 {
				r.errorf(e.key.Span, "empty", "`steps` is empty")
			}
		}
	}
	if steps == nil && len(r.found) == 0 {
		r.errorf(r.span(doc), "missing-key", "a scenario needs `steps`")
	}
	flows := flowNames{}
	for _, n := range steps {
		s.Steps = append(s.Steps, r.step(n, s.Networks, &flows))
	}
	if err := r.found.Sort().Err(); err != nil {
		return nil, err
	}
	return s, nil
}

func (r *reader) network(e entry) Network {
	if !name.MatchString(e.key.Text) {
		r.errorf(e.key.Span, "bad-id", "`%s` is no name for a network: lower-case letters, digits, `-` and `_`", e.key.Text)
	}
	return Network{Span: e.key.Span, Name: e.key.Text, Given: r.given(e.value, "a network", networkKeys)}
}

// given reads field values; what a field is called and what its value means is
// the compiler's business.
func (r *reader) given(n *yaml.Node, what string, known []string) []lang.Given {
	var given []lang.Given
	for _, e := range r.mapping(n, what, known) {
		if value, ok := r.scalar(e.value, "`"+e.key.Text+"`"); ok {
			given = append(given, lang.Given{
				Span:  lang.Span{Source: r.source, Start: e.key.Start, End: value.End},
				Field: e.key, Value: value,
			})
		}
	}
	return given
}

// flowNames are the names of the connections that steps have opened so far.
type flowNames struct {
	names []string
	first map[string]lang.Span
}

func (f *flowNames) known(name string) bool { return slices.Contains(f.names, name) }

func (r *reader) step(n *yaml.Node, networks []Network, flows *flowNames) Step {
	step := Step{Span: r.span(n)}
	sound := len(r.found)
	entries := r.mapping(n, "a step", nil)
	action := slices.IndexFunc(entries, func(e entry) bool { return slices.Contains(actions[:], e.key.Text) })
	if action < 0 {
		if len(r.found) == sound {
			r.errorf(step.Span, "missing-key", "the step says nothing to do").Hint = actionHint(entries)
		}
		return step
	}
	step.Action = Action(slices.Index(actions[:], entries[action].key.Text))
	step.Span = entries[action].key.Span
	what := entries[action].value
	switch step.Action {
	case Move:
		step.Network = r.networkRef(what, networks)
	case Connect, Accept:
		step.Given = r.given(what, "a connection", nil)
		step.Flow = r.newFlow(entries, flows)
	case Redirect:
		step.From, step.To = r.redirect(what)
	case Close:
		step.Flow = r.flowRef(what, flows)
	}
	var verdict, by *yaml.Node
	keys := stepKeys[step.Action]
	for _, e := range entries {
		switch {
		case !slices.Contains(keys, e.key.Text) && slices.Contains(actions[:], e.key.Text):
			r.errorf(e.key.Span, "unknown-key", "a step does one thing: `%s` or `%s`", step.Action, e.key.Text)
		case !slices.Contains(keys, e.key.Text):
			r.errorf(e.key.Span, "unknown-key", "a `%s` step has no key `%s`", step.Action, e.key.Text).Hint = suggest(e.key.Text, keys)
		case e.key.Text == "expect":
			verdict = e.value
		case e.key.Text == "by":
			by = e.value
		}
	}
	if step.Action == Move {
		step.Expect = r.expectations(verdict, by, flows)
	} else if e, ok := r.expectation(step.Flow, verdict, by); ok {
		step.Expect = []Expectation{e}
	}
	return step
}

// actionHint says what a step without an action may have been meant to do.
func actionHint(entries []entry) string {
	for _, e := range entries {
		if s := lang.Suggest(e.key.Text, actions[:]); s != "" {
			return "did you mean `" + s + "` for `" + e.key.Text + "`?"
		}
	}
	return "a step has one of network, connect, accept, redirect, close"
}

func (r *reader) networkRef(n *yaml.Node, networks []Network) int {
	word, ok := r.scalar(n, "`network`")
	if !ok {
		return 0
	}
	i := slices.IndexFunc(networks, func(n Network) bool { return n.Name == word.Text })
	if i < 0 {
		var names []string
		for _, n := range networks {
			names = append(names, n.Name)
		}
		d := r.errorf(word.Span, "undefined-name", "there is no network `%s`", word.Text)
		if s := lang.Suggest(word.Text, names); s != "" {
			d.Hint = "did you mean `" + s + "`?"
		}
		return 0
	}
	return i
}

// newFlow names a connection: by its `flow` key, else by its number.
func (r *reader) newFlow(entries []entry, flows *flowNames) string {
	given := strconv.Itoa(len(flows.names) + 1)
	for _, e := range entries {
		if e.key.Text != "flow" {
			continue
		}
		word, ok := r.scalar(e.value, "`flow`")
		switch {
		case !ok:
		case !name.MatchString(word.Text):
			r.errorf(word.Span, "bad-id", "`%s` is no name for a flow: lower-case letters, digits, `-` and `_`, a letter first", word.Text)
		case flows.known(word.Text):
			r.errorf(word.Span, "duplicate-name", "there is a flow `%s` already", word.Text).
				Notes = []lang.Note{{Span: flows.first[word.Text], Message: "first here"}}
		default:
			given = word.Text
			if flows.first == nil {
				flows.first = map[string]lang.Span{}
			}
			flows.first[given] = word.Span
		}
	}
	flows.names = append(flows.names, given)
	return given
}

func (r *reader) flowRef(n *yaml.Node, flows *flowNames) string {
	word, ok := r.scalar(n, "a flow")
	if ok && !r.isFlow(word, flows) {
		return ""
	}
	return word.Text
}

func (r *reader) isFlow(word lang.Word, flows *flowNames) bool {
	if flows.known(word.Text) {
		return true
	}
	d := r.errorf(word.Span, "undefined-name", "no step before has a flow `%s`", word.Text)
	if i, err := strconv.Atoi(word.Text); err == nil && i >= 1 && i <= len(flows.names) {
		d.Hint = "connection " + word.Text + " is called `" + flows.names[i-1] + "`"
	} else if s := lang.Suggest(word.Text, flows.names); s != "" {
		d.Hint = "did you mean `" + s + "`?"
	}
	return false
}

// expectations reads the `expect` and `by` of a move: mappings from flows.
func (r *reader) expectations(verdicts, rules *yaml.Node, flows *flowNames) []Expectation {
	var expect []Expectation
	index := map[string]int{}
	at := func(key lang.Word) *Expectation {
		i, ok := index[key.Text]
		if !ok {
			i = len(expect)
			index[key.Text] = i
			expect = append(expect, Expectation{Span: key.Span, Flow: key.Text})
		}
		return &expect[i]
	}
	if verdicts != nil {
		for _, e := range r.mapping(verdicts, "`expect` of a move", nil) {
			if r.isFlow(e.key, flows) {
				at(e.key).Verdict = r.verdict(e.value)
			}
		}
	}
	if rules != nil {
		for _, e := range r.mapping(rules, "`by` of a move", nil) {
			if word, ok := r.scalar(e.value, "a rule"); ok && r.isFlow(e.key, flows) {
				at(e.key).By = word.Text
			}
		}
	}
	return expect
}

func (r *reader) expectation(flow string, verdict, by *yaml.Node) (Expectation, bool) {
	e := Expectation{Flow: flow}
	if verdict != nil {
		e.Span, e.Verdict = r.span(verdict), r.verdict(verdict)
	}
	if by != nil {
		word, _ := r.scalar(by, "`by`")
		e.By = word.Text
		if verdict == nil {
			e.Span = r.span(by)
		}
	}
	return e, verdict != nil || by != nil
}

func (r *reader) verdict(n *yaml.Node) *lang.Verdict {
	word, ok := r.scalar(n, "a verdict")
	if !ok {
		return nil
	}
	for _, v := range []lang.Verdict{lang.Deny, lang.Allow, lang.AllowHard} {
		if v.String() == word.Text {
			return &v
		}
	}
	r.errorf(word.Span, "unknown-value", "`%s` is no verdict", word.Text).Hint = "allow, allow-hard or deny"
	return nil
}

// redirect reads `{from: DESTINATION, to: DESTINATION}`.
func (r *reader) redirect(n *yaml.Node) (from, to Destination) {
	found := map[string]Destination{}
	for _, e := range r.mapping(n, "`redirect`", []string{"from", "to"}) {
		if word, ok := r.scalar(e.value, "`"+e.key.Text+"`"); ok {
			found[e.key.Text] = r.destination(word)
		}
	}
	from, to = found["from"], found["to"]
	if n.Kind == yaml.MappingNode && len(found) < 2 {
		r.errorf(r.span(n), "missing-key", "a redirection needs `from` and `to`")
	} else if from.IsValid() && to.IsValid() && from.Addr().Is4() != to.Addr().Is4() {
		r.errorf(r.span(n), "mixed-families", "`%s` and `%s` are of different families", from, to)
	}
	return from, to
}

func (r *reader) destination(word lang.Word) Destination {
	d, err := netip.ParseAddrPort(word.Text)
	if err != nil {
		var a netip.Addr
		a, err = netip.ParseAddr(word.Text)
		d = netip.AddrPortFrom(a, 0)
	}
	if err != nil || d.Addr().Zone() != "" {
		r.errorf(word.Span, "bad-address", "`%s` is no destination", word.Text).Hint = "an address or address:port, such as 203.0.113.80:443 or [2001:db8::1]:443"
		return Destination{}
	}
	return netip.AddrPortFrom(d.Addr().Unmap(), d.Port())
}
