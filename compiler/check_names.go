package compiler

import (
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/hopgate/hopgate/lang"
)

// set is a declared set. Its literals have no meaning before the set has a kind,
// which is that of the first field it is compared with.
type set struct {
	*lang.Set
	file     *lang.Source // the lines of `file "PATH"`; nil where the values stand in the policy
	typedBy  *lang.Word   // the field that gave the set its kind; nil until then
	union    union
	endpoint lang.Word // the first element with an address and a port
	dynamic  *Set      // what a policy knows of a dynamic set
	visit    visit
}

type visit uint8

const (
	unvisited visit = iota
	visiting
	visited
)

// namedInterface is a declared interface.
type namedInterface struct {
	*NamedInterface
	used bool
}

// inventedType is the ifType of LUIDs invented for unbound interfaces; no real
// interface has it.
const inventedType = 0xfffe

func (c *checker) declareNames(f *lang.File) {
	for _, i := range f.Interfaces {
		c.within = "interface `" + i.Name.Text + "`"
		if !c.declared(i.Name) {
			c.declareInterface(i)
		}
	}
	c.within = ""
	for _, s := range f.Sets {
		if c.declared(s.Name) {
			continue
		}
		d := &set{Set: s}
		if s.File != nil {
			d.file = c.setFile(s.File)
		}
		if s.Dynamic {
			d.dynamic = &Set{Span: s.Span, Name: s.Name.Text}
		}
		c.sets[s.Name.Text] = d
		c.setOrder = append(c.setOrder, d)
	}
}

// declared reports a name that a set or an interface has already.
func (c *checker) declared(name lang.Word) bool {
	var first lang.Span
	if s, ok := c.sets[name.Text]; ok {
		first = s.Name.Span
	} else if i, ok := c.interfaces[name.Text]; ok {
		first = i.Span
	} else {
		return false
	}
	c.errorf(name.Span, codeDuplicateName, "two sets or interfaces are called `%s`", name.Text).Notes = firstDefined(first)
	return true
}

func (c *checker) declareInterface(i *lang.Interface) {
	n := &NamedInterface{Span: i.Span, Name: i.Name.Text, Kind: i.Kind.Text, Value: i.Value.Text}
	n.LUID = inventedType<<luidTypeShift | uint64(len(c.policy.Interfaces)+1)<<luidIndexShift
	c.interfaces[n.Name] = &namedInterface{NamedInterface: n}
	c.policy.Interfaces = append(c.policy.Interfaces, n)
	switch n.Kind {
	case "luid":
		luid, err := parseLUID(n.Value)
		if err == nil && !NextHop.Known(Number(luid)) {
			err = wrong(codeBadLUID, "", "no interface has the LUID `%s`", n.Value)
		}
		if err != nil {
			c.report(i.Value.Span, err)
			return
		}
		n.Bound, n.LUID = true, luid
	case "guid":
		if !isGUID(n.Value) {
			d := c.errorf(i.Value.Span, codeBadInterface, "`%s` is not a GUID", n.Value)
			d.Hint = "a GUID is written `6076c13a-f04f-4ff8-8380-908553f22276`, with or without braces"
		}
	case "":
		if i.Source == nil {
			c.errorf(i.Span, codeBadInterface, "an interface has an alias, luid, guid or name")
		} // else the parser has said so
	case "alias", "name":
		if i.Value.Source == nil && i.Source != nil {
			return // the same
		}
		if strings.TrimSpace(n.Value) == "" {
			c.errorf(i.Value.Span, codeBadInterface, "the interface's %s is empty", n.Kind)
		}
		if strings.ContainsFunc(n.Value, unicode.IsControl) {
			c.errorf(i.Value.Span, codeBadInterface, "the interface's %s has a control character", n.Kind)
		}
	default:
		c.errorf(i.Kind.Span, codeBadInterface, "an interface has an alias, luid, guid or name, not `%s`", n.Kind)
	}
}

func isGUID(s string) bool {
	if strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") {
		s = s[1 : len(s)-1]
	}
	parts := strings.Split(s, "-")
	_, err := hex.DecodeString(strings.Join(parts, ""))
	return err == nil && slices.EqualFunc(parts, []int{8, 4, 4, 4, 12}, func(p string, n int) bool { return len(p) == n })
}

// bind gives the interfaces the LUIDs of the options.
func (c *checker) bind() {
	for name, luid := range c.opts.Bind {
		if i, ok := c.interfaces[name]; ok {
			i.Bound, i.LUID = true, luid
		}
	}
	for _, i := range c.policy.Interfaces {
		i.Bound = i.Bound || c.opts.BindAll
	}
}

// words gives the literals of the set.
func (s *set) words() iter.Seq[lang.Word] {
	if s.File == nil {
		return slices.Values(s.Values)
	}
	if s.file == nil {
		return func(func(lang.Word) bool) {}
	}
	return lines(s.file)
}

// checkCycles resolves the sets that sets name, and reports cycles and empty
// sets.
func (c *checker) checkCycles() {
	for _, s := range c.setOrder {
		c.within = "set `" + s.Name.Text + "`"
		c.visitSet(s, nil)
	}
	c.within = ""
}

// reference is where one set names another.
type reference struct {
	set *set
	at  lang.Span
}

func (c *checker) visitSet(s *set, path []reference) {
	if s.visit != unvisited {
		return
	}
	s.visit = visiting
	defer func() { s.visit = visited }()
	empty := true
	for w := range s.words() {
		empty = false
		if !w.Ref {
			continue
		}
		inner, ok := c.sets[w.Text]
		switch {
		case s.Dynamic:
			c.errorf(w.Span, codeDynamicElement, "a dynamic set holds values, not names such as `$%s`", w.Text)
		case !ok:
			c.resolveInterface(w)
		case inner.Dynamic:
			c.errorf(w.Span, codeDynamicElement, "the set `%s` is constant and cannot hold the dynamic set `%s`", s.Name.Text, w.Text).
				Notes = []lang.Note{{Span: inner.Span, Message: "defined here"}}
		case inner.visit == visiting:
			c.setCycle(append(path, reference{s, w.Span}), inner)
		case len(path) == maxSetDepth:
			c.errorf(w.Span, codeLimit, "sets name each other deeper than %d", maxSetDepth)
		default:
			c.visitSet(inner, append(path, reference{s, w.Span}))
		}
	}
	// The parser has reported an empty block.
	if empty && !s.Dynamic && (s.file != nil || s.Source == nil) {
		c.errorf(s.Name.Span, codeEmptySet, "the set `%s` is empty", s.Name.Text).
			Hint = "a set that fills while the policy runs is `dynamic`"
	}
}

// maxSetDepth limits how deeply sets name sets.
const maxSetDepth = 100

// setCycle reports the last reference of the path, which leads back to start.
func (c *checker) setCycle(path []reference, start *set) {
	last := path[len(path)-1]
	d := c.errorf(last.at, codeSetCycle, "the set `%s` holds itself", start.Name.Text)
	first := slices.IndexFunc(path, func(r reference) bool { return r.set == start })
	for _, r := range path[first : len(path)-1] {
		d.Notes = append(d.Notes, lang.Note{Span: r.at, Message: fmt.Sprintf("through `%s` here", r.set.Name.Text)})
	}
}

// orName is the problem of a literal, which may be a name that lacks its `$`.
func (c *checker) orName(w lang.Word, p *problem) *problem {
	_, isSet := c.sets[w.Text]
	_, isInterface := c.interfaces[w.Text]
	if p.severity == lang.Error && (isSet || isInterface) {
		named := *p
		named.hint = "write `$" + w.Text + "`"
		return &named
	}
	return p
}

// resolveInterface finds an interface by `$name`, or reports that nothing is
// called so.
func (c *checker) resolveInterface(w lang.Word) (*namedInterface, *lang.Diagnostic) {
	i, ok := c.interfaces[w.Text]
	if !ok {
		names := slices.Concat(slices.Sorted(maps.Keys(c.sets)), slices.Sorted(maps.Keys(c.interfaces)))
		hint := didYouMean(w.Text, names)
		if hint == "" {
			hint = fmt.Sprintf("define it with `set %s = { ... }` or `interface %s = alias \"...\"`", w.Text, w.Text)
			if w.Source != nil && filepath.Ext(w.Source.Name) != ".hop" {
				hint = "define it under `sets` or `interfaces`"
			}
		}
		return nil, c.report(w.Span, wrong(codeUndefinedName, hint, "no set or interface is called `%s`", w.Text))
	}
	i.used = true
	return i, nil
}

// resolve gives a set the kind of the field it is compared with, unless it has
// one already, and reads its literals. If the kinds differ it returns the error.
func (c *checker) resolve(s *set, at lang.Span, field *lang.Word, kind Field) *lang.Diagnostic {
	if s.typedBy != nil {
		if s.union.kind == kind {
			return nil
		}
		d := c.report(at, wrong(codeSetKind, "one set holds one kind of values: make a second one",
			"`$%s` is compared with `%s` and with `%s`, which is %s", s.Name.Text, s.typedBy.Text, field.Text, kind.kindName()))
		d.Notes = []lang.Note{{Span: s.typedBy.Span, Message: fmt.Sprintf("here it is %s", s.union.kind.kindName())}}
		return d
	}
	s.typedBy = field
	s.union.kind = kind
	if c.folded > maxFolded {
		return nil
	}
	outer := c.within
	c.within = "set `" + s.Name.Text + "`"
	for w := range s.words() {
		if d := c.addElement(s, w); d != nil {
			d.Notes = append(d.Notes, lang.Note{Span: field.Span, Message: fmt.Sprintf("`$%s` is compared with `%s` here", s.Name.Text, field.Text)})
		}
	}
	written := s.union.size()
	s.union.normalize()
	if s.union.size() < written {
		c.overlaps(s)
	}
	c.within = outer
	if s.Dynamic {
		s.dynamic.Field, s.dynamic.Ranges = kind, s.union.ranges[anyTransport]
	}
	c.fold(s.union.size(), s.Name.Span)
	return nil
}

// addElement reads one element of a set that has a kind, and returns what is
// wrong with it for that kind.
func (c *checker) addElement(s *set, w lang.Word) *lang.Diagnostic {
	if w.Ref {
		return c.addNamedElement(s, w)
	}
	add := s.union.add
	if s.Dynamic {
		add = s.union.addPlain
	}
	if p := add(w.Text); p != nil {
		return c.report(w.Span, c.orName(w, p))
	}
	if s.endpoint.Text == "" && len(s.union.endpoints) > 0 {
		s.endpoint = w
	}
	return nil
}

// addNamedElement puts what a constant set names in the place of the name.
func (c *checker) addNamedElement(s *set, w lang.Word) *lang.Diagnostic {
	inner, ok := c.sets[w.Text]
	switch {
	case s.Dynamic:
		return nil // reported with the cycles
	case !ok:
		return c.includeInterface(&s.union, w, s.typedBy)
	case inner == s || inner.Dynamic:
		return nil
	}
	if d := c.resolve(inner, w.Span, s.typedBy, s.union.kind); d != nil {
		return d
	}
	s.union.include(&inner.union)
	if s.endpoint.Text == "" {
		s.endpoint = inner.endpoint
	}
	return nil
}

// maxFolded limits the elements of all constant sets together, once sets are put
// in the place of their names.
const maxFolded = 1 << 24

func (c *checker) fold(elements int, at lang.Span) {
	if c.folded <= maxFolded && c.folded+elements > maxFolded {
		c.errorf(at, codeLimit, "the constant sets have more than %d elements together", maxFolded)
	}
	c.folded += elements
}

// includeInterface adds `$name` of an interface to a union, or returns why it
// cannot.
func (c *checker) includeInterface(u *union, w lang.Word, field *lang.Word) *lang.Diagnostic {
	i, d := c.resolveInterface(w)
	if d != nil {
		return d
	}
	if u.kind != NextHop {
		d := c.report(w.Span, wrong(codeInterfaceKind, "an interface is compared with next_hop or interface",
			"`$%s` is an interface, `%s` is %s", w.Text, field.Text, u.kind.kindName()))
		d.Notes = []lang.Note{{Span: i.Span, Message: "defined here"}}
		return d
	}
	u.names = append(u.names, i.NamedInterface)
	return nil
}

// finishNames lists the dynamic sets, and warns of names of the file that nothing
// uses.
func (c *checker) finishNames(file *lang.File) {
	for _, s := range c.setOrder {
		if s.typedBy == nil {
			c.checkUntyped(s)
		} else if s.Dynamic {
			c.policy.Sets = append(c.policy.Sets, s.dynamic)
		}
	}
	if c.errors > 0 {
		return // what is wrong may be the use
	}
	for _, s := range c.setOrder {
		if s.typedBy == nil && s.Source == file.Source {
			c.warnf(s.Name.Span, codeUnusedSet, "nothing uses the set `%s`", s.Name.Text)
		}
	}
	for _, n := range c.policy.Interfaces {
		if n.Source == file.Source && !c.interfaces[n.Name].used {
			c.warnf(n.Span, codeUnusedInterface, "nothing uses the interface `%s`", n.Name)
		}
	}
}

// checkUntyped reports literals that no field could have; what the set holds is
// not known.
func (c *checker) checkUntyped(s *set) {
	for w := range s.words() {
		if w.Ref {
			continue
		}
		fits := slices.ContainsFunc(kinds, func(kind Field) bool {
			p := (&union{kind: kind}).add(w.Text)
			return p == nil || p.severity != lang.Error
		})
		if !fits {
			c.errorf(w.Span, codeBadValue, "`%s` is not a value of any field", w.Text)
		}
	}
}

// kinds are the fields that stand for all kinds of literals.
var kinds = []Field{RemoteAddress, RemotePort, SubInterface, NextHop, InterfaceType, TunnelType, Protocol, Family}
