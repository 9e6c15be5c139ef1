package proof

import (
	"errors"
	"math"
	"math/bits"
	"slices"

	"github.com/hopgate/hopgate/compiler"
)

// A forest of trees keeps the best rule so far in a register, which paths join in. So
// its graph falls into sections that begin where such a joined number is set and end
// where the next one is, and each is proved by itself. What is known at a section's
// begin is an invariant of the number n there, for every connection. Where nothing shows
// the rule, n may be of another than the one that decides, if that answers alike:
//
//   - it is sound: n's rule answers as the one that decides, or is not before a rule
//     that answers like it and matches; where the deciding rule answers like no other, it
//     is enough that n's is not before that;
//   - for the rules that are dealt with, if one of them decides, n's rule answers alike,
//     and is before every rule that matches and answers otherwise.
//
// Both together hold for the lower of two numbers if they hold for both, and where all
// rules are dealt with, they leave the right answer. Numbers are taken for rule << 3, a
// guess at what the program means by them, which is checked where the program turns a
// number into its answer.

// sections proves section by section.
type sections struct {
	*part
	*pieces
	meetings *meetings
	answers  []answer // by rule, and the default
	alike    map[answer]bitmap
	single   bitmap             // pieces of rules that answer like no other
	until    []int32            // by piece: the first rule after it that meets it and answers otherwise
	safe     map[int]bitmap     // by rule: the pieces for which that is later
	live     []uint64           // by node: the joins that matter from there on
	quiet    []bool             // by node: only joined numbers are tested from there to the section's end
	place    []int32            // by node
	wrong    map[int32][]uint64 // by choice: the numbers with another answer than their rules'

	start *region
	cuts  map[int32]*cut // by first node of a section
	from  *cut           // of the section at hand
	at    [][]*region    // by node
	open  bitmap         // of places
	most  int            // regions that are kept apart at a node
	left  int            // regions

	perRegion int // steps
}

// cut is the begin of a section.
type cut struct {
	join  int32  // the joined number that goes on, or -1
	dealt bitmap // pieces of the rules that are dealt with
	plain bool   // all that is known of these is that the number answers alike
	// Network has the values of the variables that come with the network context, as code
	// after a failed call is another.
	network [subInterface + 1 - interfaceType]set
	done    bool
}

// newSections prepares the proof of a graph; nil if it can't be done in this way.
func newSections(p *part) *sections {
	c, ok := piecesOf(p)
	if !ok || p.graph.joins > 64 || slices.ContainsFunc(p.policy.Rules, func(r compiler.Rule) bool { return r.Audit }) {
		return nil
	}
	for _, numbers := range p.graph.numbers {
		if len(numbers) > 0 && numbers[len(numbers)-1] > math.MaxUint32 {
			return nil
		}
	}
	w := &sections{part: p, pieces: c, alike: map[answer]bitmap{}, wrong: map[int32][]uint64{}, meetings: newMeetings(c)}
	w.perRegion = perNode + len(w.rule)/16
	w.compareRules()
	w.survey()
	return w
}

// compareRules finds out which rules answer like others.
func (w *sections) compareRules() {
	for i := range len(w.policy.Rules) + 1 {
		w.answers = append(w.answers, w.expected(i, -1))
	}
	w.single = newBitmap(len(w.rule))
	for i, rule := range w.rule {
		if w.answers[rule].rule >= 0 {
			w.single.add(int32(i))
		}
	}
}

// compareMeeting finds out up to which rule another that answers alike may stand for a piece.
func (w *sections) compareMeeting() {
	w.until, w.safe = w.until[:0], map[int]bitmap{}
	last := int32(len(w.policy.Rules))
	for i, rule := range w.rule {
		a, end := w.answers[rule], last
		if a.rule >= 0 {
			end = rule + 1
		} else if other := w.meetings.with(int32(i)).and(w.start.open).firstBut(w.of(a), w.begin[rule+1]); other >= 0 {
			end = w.rule[other]
		} else if w.answers[last] == a {
			end++
		}
		w.until = append(w.until, end)
	}
}

// safely are the pieces that a rule may stand for if it answers alike.
func (w *sections) safely(rule int) bitmap {
	b, ok := w.safe[rule]
	if !ok {
		b = newBitmap(len(w.rule))
		for i, end := range w.until {
			if int(end) > rule {
				b.add(int32(i))
			}
		}
		w.safe[rule] = b
	}
	return b
}

// survey finds out what matters from each node on.
func (w *sections) survey() {
	g := w.graph
	w.live, w.quiet, w.place = make([]uint64, len(g.nodes)), make([]bool, len(g.nodes)), make([]int32, len(g.nodes))
	w.at, w.open = make([][]*region, len(g.nodes)), newBitmap(len(g.order))
	for i, id := range slices.Backward(g.order) {
		n := &g.nodes[id]
		w.place[id] = int32(i)
		if n.tail {
			w.quiet[id] = true
			continue
		}
		quiet := n.space == joins && (n.kind == testNode || n.kind == chooseNode)
		for _, kid := range n.kids {
			w.live[id] |= w.live[kid]
			quiet = quiet && w.quiet[kid]
		}
		w.quiet[id] = quiet || n.kind == setNode
		switch {
		case n.kind == setNode && w.live[id]>>n.v&1 != 0:
			w.live[id] &^= 1 << n.v
			if n.from >= 0 {
				w.live[id] |= 1 << n.from
			}
		case n.kind != setNode && n.space == joins && (n.kind == testNode || n.kind == chooseNode):
			w.live[id] |= 1 << n.v
		}
	}
}

// Paths that meet are kept apart until there are more than a few, then more of them.
var mostApart = [...]int{8, 100}

// maxRegions bounds the work of one attempt, beyond which it is not worth it.
const maxRegions = 3_000_000

// prove shows that every connection in the box gets the answer of the policy.
func (w *sections) prove(b []set) error {
	b = slices.Clone(b)
	for i := range w.graph.joins {
		b[w.graph.joinVariable(int32(i))] = set{{0, math.MaxUint32}}
	}
	w.start = w.all(b)
	err := w.effort.spend(len(w.rule) * len(w.rule) / 1024)
	if err != nil {
		return err
	}
	w.compareMeeting()
	for _, w.most = range mostApart {
		if err = w.sections(); !errors.Is(err, errDoubt) {
			return err
		}
	}
	return err
}

// sections proves one section after the other.
func (w *sections) sections() error {
	w.cuts = map[int32]*cut{w.graph.root: {join: -1}}
	w.left = maxRegions
	for {
		next := int32(-1)
		for id, c := range w.cuts {
			if !c.done && (next < 0 || w.place[id] < w.place[next]) {
				next = id
			}
		}
		if next < 0 {
			return nil
		}
		if err := w.section(next); err != nil {
			clear(w.at)
			clear(w.open)
			return err
		}
	}
}

// section follows all inputs from a cut to the next ones.
func (w *sections) section(id int32) error {
	w.from = w.cuts[id]
	w.from.done = true
	begin := w.start
	for i, in := range w.from.network {
		if w.from.join >= 0 {
			begin = w.narrowed(begin, interfaceType+variable(i), in)
		}
	}
	if err := w.send(id, begin); err != nil {
		return err
	}
	for place := w.open.first(w.place[id]); place >= 0; place = w.open.first(place) {
		w.open.drop(place)
		id := w.graph.order[place]
		here := w.at[id]
		w.at[id] = nil
		for _, r := range here {
			if err := w.forward(id, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// send brings a region to a node.
func (w *sections) send(id int32, r *region) error {
	w.result.Steps++
	if w.left--; w.left < 0 {
		return errSteps
	}
	if err := w.effort.spend(w.perRegion); err != nil {
		return err
	}
	if w.quiet[id] {
		return w.finish(id, r)
	}
	list := w.at[id]
	if len(list) >= w.most {
		list[len(list)-1] = w.united(list[len(list)-1], r, w.start)
		return nil
	}
	w.at[id] = append(list, r)
	w.open.add(w.place[id])
	return nil
}

// forward sends what of a region goes on from a node to each of its kids.
func (w *sections) forward(id int32, r *region) error {
	n := &w.graph.nodes[id]
	switch n.kind {
	case testNode:
		v := w.graph.variable(n)
		for i, kid := range n.kids {
			if part := n.part(r.box[v], i); len(part) > 0 {
				if err := w.send(kid, w.narrowed(r, v, part)); err != nil {
					return err
				}
			}
		}
		return nil
	case askNode:
		if err := w.send(n.kids[0], r); err != nil {
			return err
		}
		for v := interfaceType; v <= subInterface; v++ {
			missing := r.box[v].and(point(v.missing()))
			if len(missing) == 0 {
				return nil
			}
			r = w.narrowed(r, v, missing)
		}
		return w.send(n.kids[1], r)
	}
	for _, kid := range n.kids {
		if err := w.send(kid, r); err != nil {
			return err
		}
	}
	return nil
}

func (w *sections) narrowed(r *region, v variable, in set) *region {
	if in.same(r.box[v]) {
		return r
	}
	return w.with(r, v, in)
}

// finish follows a region where only joined numbers are tested.
func (w *sections) finish(id int32, r *region) error {
	n := &w.graph.nodes[id]
	switch {
	case n.tail:
		return w.end(id, r)
	case n.kind == setNode:
		return w.leave(id, r)
	case n.kind == chooseNode:
		return w.chooses(id, r)
	}
	return w.forward(id, r)
}

// candidates are the pieces that may decide somewhere in the region, up to the first
// that holds everywhere; closed says that there is one.
func (w *sections) candidates(r *region) (open bitmap, closed bool) {
	holding := w.holding(r)
	end := holding.first(0)
	if end < 0 {
		return r.open, false
	}
	open = slices.Clone(r.open)
	open.cutAt(end + 1)
	return open, true
}

// labelOf is the rule that a number stands for.
func (w *sections) labelOf(number uint64) int {
	return int(min(number>>ruleShift, uint64(len(w.policy.Rules))))
}

// of are the pieces of rules with an answer.
func (w *sections) of(a answer) bitmap {
	b, ok := w.alike[a]
	if !ok {
		b = newBitmap(len(w.rule))
		first, end := 0, len(w.policy.Rules)
		if a.rule >= 0 { // no other rule has this answer
			first, end = a.rule, min(a.rule+1, end)
		}
		for i := first; i < end; i++ {
			for k := w.begin[i]; k < w.begin[i+1] && w.answers[i] == a; k++ {
				b.add(k)
			}
		}
		w.alike[a] = b
	}
	return b
}

// holds shows that nowhere in a region anything decides but pieces that are good, or that
// a backing piece matches there; then it gives the parts of the region to then. Where that
// is open, it cuts the region at a test of a piece, of a backing or a good one if there is one.
func (w *sections) holds(r *region, good, backing bitmap, byDefault bool, then func(*region, bitmap) error) error {
	open, closed := w.candidates(r)
	if (closed || byDefault) && open.firstBut(good, 0) < 0 || backing != nil && w.holding(r).meets(backing) {
		return then(r, open)
	}
	cut := w.cuttingOf(r, r.open, backing)
	if cut == nil {
		cut = w.cuttingOf(r, open, good)
	}
	for i := open.first(0); i >= 0 && cut == nil; i = open.first(i + 1) {
		cut = w.cutting(r, i)
	}
	if w.left--; cut == nil || w.left < 0 {
		return w.differs(r, answer{})
	}
	if err := w.effort.spend(w.perRegion); err != nil {
		return err
	}
	w.result.Boxes++
	for _, in := range []set{cut.in, cut.in.not(math.MaxUint64)} {
		if part := r.box[cut.v].and(in); len(part) > 0 {
			if err := w.holds(w.with(r, cut.v, part), good, backing, byDefault, then); err != nil {
				return err
			}
		}
	}
	return nil
}

// cuttingOf is a test, of a piece in both lists, that cuts the region; nil if there is none.
func (w *sections) cuttingOf(r *region, open, wanted bitmap) *side {
	for k := range wanted {
		for word := open[k] & wanted[k]; word != 0; word &= word - 1 {
			if s := w.cutting(r, int32(k<<6+bits.TrailingZeros64(word))); s != nil {
				return s
			}
		}
	}
	return nil
}

// cutting is a test of a piece that cuts the region, nil if there is none.
func (w *sections) cutting(r *region, piece int32) *side {
	for i := range w.tests[piece] {
		if s := &w.tests[piece][i]; !w.wholeOf(r, s.v, piece) {
			return s
		}
	}
	return nil
}

// differs looks for a connection that shows a difference.
func (w *sections) differs(r *region, a answer) error {
	if !r.exact {
		return errDoubt
	}
	if w.from.join >= 0 {
		a = answer{} // it may be that no connection comes here with such a number
	}
	return w.refute(r.box, a)
}

// leave passes a region on to the section that begins where a joined number is set.
func (w *sections) leave(id int32, r *region) error {
	set := &w.graph.nodes[id]
	id = set.kids[0]
	join := int32(-1)
	switch live := w.live[id]; {
	case live == 1<<set.v:
		join = set.v
	case live != 0:
		return errDoubt
	}
	next, ok := w.cuts[id]
	if !ok {
		next = &cut{join: join}
		w.cuts[id] = next
	}
	if next.done {
		return errDoubt
	}
	for i := range next.network {
		v := interfaceType + variable(i)
		if !next.network[i].same(w.start.box[v]) {
			next.network[i] = next.network[i].or(r.box[v])
		}
	}
	if set.from >= 0 && set.from != w.from.join {
		return errDoubt
	}
	rule, kept := w.labelOf(set.value), w.from.join >= 0
	switch {
	case set.from >= 0:
		rule = w.labelOf(w.was(r).last)
	case kept:
		kept = rule <= w.labelOf(w.was(r).first)
	}
	pass := func(r *region, open bitmap) error {
		next.take(w.dealt(open, rule, kept))
		return nil
	}
	if set.from >= 0 || rule == len(w.policy.Rules) && !w.decides(id) {
		open, _ := w.candidates(r)
		return pass(r, open)
	}
	alike, byDefault := w.of(w.answers[rule]), w.answers[rule] == w.answers[len(w.policy.Rules)]
	if w.decides(id) {
		next.plain = true
		return w.holds(r, alike, nil, byDefault, func(*region, bitmap) error {
			all := newBitmap(len(w.rule))
			all.addFrom(0)
			next.take(all)
			return nil
		})
	}
	return w.holds(r, alike.or(w.before(w.single, rule+1)), w.before(alike, rule+1), byDefault, pass)
}

// before are those of some pieces that are of rules before one.
func (w *sections) before(pieces bitmap, rule int) bitmap {
	b := slices.Clone(pieces)
	b.cutAt(w.begin[min(rule, len(w.policy.Rules))])
	return b
}

// decides reports whether the number that is set before a node is the only one there is, and
// is turned into its answer there.
func (w *sections) decides(id int32) bool {
	return w.from.join < 0 && w.graph.nodes[id].kind == chooseNode
}

// take makes the pieces that are dealt with fewer.
func (c *cut) take(dealt bitmap) {
	for i := range c.dealt {
		dealt[i] &= c.dealt[i]
	}
	c.dealt = dealt
}

// dealt are the pieces of the rules that are dealt with after a region: they do not decide
// there, or the number's rule may stand for them, which is the given one at last. Kept says
// that the number is the one of before or of no later rule.
func (w *sections) dealt(open bitmap, rule int, kept bool) bitmap {
	out := slices.Clone(w.safely(rule))
	for i := range out {
		out[i] |= ^open[i]
		if kept {
			out[i] |= w.from.dealt[i]
		}
	}
	return out
}

// was is between which numbers the joined one is in a region.
func (w *sections) was(r *region) span {
	s := r.box[w.graph.joinVariable(w.from.join)]
	return span{s[0].first, s[len(s)-1].last}
}

// end shows that a tail is the right one for all of a region. Where a rule matches that
// answers like the tail and is not after the number's, those that are dealt with decide
// only if they answer alike.
func (w *sections) end(id int32, r *region) error {
	a := w.tails[id]
	if a.flaw != "" {
		return w.differs(r, a)
	}
	alike, byDefault := w.of(a), w.answers[len(w.answers)-1] == a
	if w.from.join < 0 || w.from.plain {
		return w.holds(r, alike, nil, byDefault, func(*region, bitmap) error { return nil })
	}
	first, dealt := w.labelOf(w.was(r).first), w.from.dealt
	good := alike.or(w.before(dealt.and(w.single), first))
	return w.holds(r, good, w.before(alike, first+1), byDefault, func(r *region, _ bitmap) error {
		return w.holds(r, alike.or(dealt), nil, byDefault, func(*region, bitmap) error { return nil })
	})
}

// chooses shows that the answer of a joined number is the right one for all of a region.
func (w *sections) chooses(id int32, r *region) error {
	n := &w.graph.nodes[id]
	wrong, ok := w.wrong[id]
	if !ok {
		for i, number := range n.values {
			if kid := n.kids[i]; !w.graph.nodes[kid].tail || w.tails[kid] != w.answers[w.labelOf(number)] {
				wrong = append(wrong, number)
			}
		}
		w.wrong[id] = wrong
	}
	in := r.box[w.graph.joinVariable(n.v)]
	if n.v != w.from.join || slices.ContainsFunc(wrong, in.contains) {
		return errDoubt
	}
	open, _ := w.candidates(r)
	dealt := w.dealt(open, w.labelOf(w.was(r).last), true)
	if open.firstBut(dealt, 0) >= 0 {
		return errDoubt
	}
	return nil
}
