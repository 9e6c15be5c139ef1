package windows

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime"
)

const pinnedAt = "hopgate/corp"

// attached is corp in force, as instructions or as the table of an engine, with the way
// to give it another policy.
func attached(t *testing.T, table bool) (*runtime.Kernel, func(text string) error) {
	t.Helper()
	if !table {
		k, err := runtime.AttachKernel(program(t, corp), &runtime.KernelOptions{Pin: pinnedAt})
		require.NoError(t, err)
		return k, func(text string) error { return k.Update(program(t, text)) }
	}
	engine, err := codegen.GenerateEngine(codegen.Windows)
	require.NoError(t, err)
	k, err := runtime.AttachKernel(engine, &runtime.KernelOptions{Pin: pinnedAt, Table: packed(t, corp)})
	require.NoError(t, err)
	return k, func(text string) error { return k.LoadTable(packed(t, text)) }
}

func packed(t *testing.T, text string) *codegen.Table {
	t.Helper()
	table, err := codegen.GenerateTable(diagram(t, text), nil, codegen.Build{})
	require.NoError(t, err)
	return table
}

// forms runs a test for both forms of a program.
func forms(t *testing.T, test func(t *testing.T, f *fake, table bool)) {
	for name, table := range map[string]bool{"code": false, "table": true} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			test(t, f, table)
			unpin(t, f)
			f.clean(t)
			f.closesOnce(t)
		})
	}
}

// values gives the IPv4 addresses of corp's set in force.
func values(t *testing.T, k *runtime.Kernel) []compiler.Range {
	t.Helper()
	base := uint32(0)
	if tables := k.Map(codegen.TableMap); tables != nil {
		generation, err := runtime.KernelTables(tables, nil, codegen.Windows).Generation(compiler.Connect)
		require.NoError(t, err)
		base = codegen.TableSetBase(compiler.Connect, generation)
	}
	var table *ebpf.Map
	require.NoError(t, k.Map(codegen.SetsMap).Lookup(base+codegen.SetKey(0, false), &table))
	defer table.Close()
	var blocks []byte
	for n := range table.MaxEntries() {
		block, err := table.LookupBytes(n)
		require.NoError(t, err)
		if bytes.Equal(block, make([]byte, len(block))) {
			break // room for more
		}
		blocks = append(blocks, block...)
	}
	_, ranges, err := codegen.TableRanges(blocks, false)
	require.NoError(t, err)
	return ranges
}

func ranges(t *testing.T, literals ...string) []compiler.Range {
	all, err := compiler.SetRanges(compiler.RemoteAddress, literals)
	require.NoError(t, err)
	return compiler.ReplaceSet.Apply(nil, all)
}

// Sets of a pinned policy change while the process runs and after, and stay as they are
// over reloads and a restart, until a policy gives them other values.
func TestChangePinnedSet(t *testing.T) {
	forms(t, func(t *testing.T, f *fake, table bool) {
		k, reload := attached(t, table)
		require.Equal(t, ranges(t, "10.0.0.0/8"), values(t, k))
		require.NoError(t, runtime.ChangePinnedSet(pinnedAt, "servers", compiler.AddToSet, []string{"192.0.2.1"}))
		require.Equal(t, ranges(t, "10.0.0.0/8", "192.0.2.1"), values(t, k))
		require.NoError(t, reload(corp))
		require.Equal(t, ranges(t, "10.0.0.0/8", "192.0.2.1"), values(t, k))
		require.NoError(t, k.Close())

		require.NoError(t, runtime.ChangePinnedSet(pinnedAt, "servers", compiler.RemoveFromSet, []string{"10.0.0.0/8"}))
		k, reload = attached(t, table)
		require.Equal(t, ranges(t, "192.0.2.1"), values(t, k))
		require.NoError(t, k.ChangeSet("servers", compiler.ReplaceSet, []string{"192.0.2.9"}))
		require.Equal(t, ranges(t, "192.0.2.9"), values(t, k))
		other := "policy corp {\n default deny\n set servers dynamic = { 10.9.0.0/16 }\n rule servers: allow if remote_address in $servers\n}"
		require.NoError(t, reload(other))
		require.Equal(t, ranges(t, "10.9.0.0/16"), values(t, k))

		require.ErrorContains(t, runtime.ChangePinnedSet(pinnedAt, "serves", compiler.AddToSet, []string{"192.0.2.1"}), "no dynamic set `serves`")
		require.ErrorContains(t, runtime.ChangePinnedSet(pinnedAt, "servers", compiler.AddToSet, []string{"wifi"}), "wifi")
		require.NoError(t, k.Close())
	})
}

// Each call that can fail in a change of a set, by the process that runs the policy or by
// another, fails once: the change is reported as failed, the set of IPv4 addresses is that
// of before or that of after, and nothing is left open.
func TestChangeSetFailures(t *testing.T) {
	forms(t, func(t *testing.T, f *fake, table bool) {
		k, _ := attached(t, table)
		files := f.objects(fakeFiles)
		for name, change := range map[string]func(value string) error{
			"ChangeSet": func(value string) error {
				return k.ChangeSet("servers", compiler.ReplaceSet, []string{value})
			},
			"ChangePinnedSet": func(value string) error {
				return runtime.ChangePinnedSet(pinnedAt, "servers", compiler.ReplaceSet, []string{value})
			},
		} {
			require.NoError(t, change("192.0.2.1"))
			f.reset(0, false)
			require.NoError(t, change("192.0.2.7"))
			total := f.count()
			for n := 1; n <= total; n++ {
				f.reset(n, false)
				require.Error(t, change("192.0.2.1"), "%s: %s", name, f.failed())
				require.Equal(t, files, f.objects(fakeFiles), "%s: %s", name, f.failed())
				f.reset(0, false)
				require.Contains(t, [][]compiler.Range{ranges(t, "192.0.2.1"), ranges(t, "192.0.2.7")}, values(t, k))
			}
		}
		require.NoError(t, k.Close())
	})
}

// Counters go on over a restart, by rule id, and status shows them in between.
func TestPinnedStatus(t *testing.T) {
	forms(t, func(t *testing.T, f *fake, table bool) {
		decided := func(k *runtime.Kernel, n uint64) {
			if !table {
				require.NoError(t, k.Map(codegen.CountersMap).Put(uint32(1), perCPU(t, n)))
				return
			}
			var inner *ebpf.Map
			require.NoError(t, k.Map(codegen.TableMap).Lookup(uint32(compiler.Connect), &inner))
			defer inner.Close()
			page := make([]byte, codegen.TablePage)
			page[8] = byte(n)
			require.NoError(t, inner.Put(uint32(codegen.TableCounters/codegen.TablePage), page))
		}
		k, _ := attached(t, table)
		decided(k, 3)
		require.NoError(t, k.Close())
		status, err := runtime.PinnedStatus(pinnedAt)
		require.NoError(t, err)
		require.Equal(t, "corp", status.Policy)
		require.Equal(t, "smb", status.Rules[1].ID)
		require.Equal(t, uint64(3), status.Rules[1].Decisions)
		require.Len(t, status.Stages, 2)
		for _, s := range status.Stages {
			require.True(t, s.Attached, s.Section)
			require.NotZero(t, s.Program, s.Section)
		}
		k, _ = attached(t, table)
		decided(k, 4)
		running, err := k.Status()
		require.NoError(t, err)
		require.Equal(t, uint64(7), running.Rules[1].Decisions)
		require.Equal(t, 2, running.Generation)
		require.NoError(t, k.Close())
		status, err = runtime.PinnedStatus(pinnedAt)
		require.NoError(t, err)
		require.Equal(t, uint64(7), status.Rules[1].Decisions)
	})
}

// Another process may load a table into the engine that this one runs: status and
// events are those of that table's rules.
func TestLoadPinnedTable(t *testing.T) {
	f := newFake(t)
	engine, err := codegen.GenerateEngine(codegen.Windows)
	require.NoError(t, err)
	rules := make(chan string, 4)
	k, err := runtime.AttachKernel(engine, &runtime.KernelOptions{Pin: pinnedAt, Table: packed(t, corp), Event: func(p *codegen.Program, e *codegen.Event) {
		rules <- p.Rules[e.Rule].ID
	}})
	require.NoError(t, err)
	require.NoError(t, runtime.LoadPinnedTable(pinnedAt, packed(t, "policy next {\n default deny\n rule one: allow if remote_port == 1\n rule two: deny log if remote_port == 445\n}")))
	late := event()
	late[11] = 1 // of the table before
	f.event(late)
	require.Equal(t, "smb", <-rules)
	now := event()
	now[11] = 2
	f.event(now)
	require.Equal(t, "two", <-rules)
	status, err := k.Status()
	require.NoError(t, err)
	require.Equal(t, "next", status.Policy)
	require.ErrorContains(t, runtime.LoadPinnedTable(pinnedAt, packed(t, "policy in { hook accept\n default deny }")), "attached at hook connect")
	require.NoError(t, k.Close())
	unpin(t, f)
	f.clean(t)
}

// takeOvers are the ways in which a start takes over what attached has pinned, each of
// which ends again: as it would by itself, and by an engine of another version.
func takeOvers(t *testing.T, table bool) []func() error {
	way := func(p *codegen.Program, opts *runtime.KernelOptions) func() error {
		opts.Pin = pinnedAt
		return func() error {
			k, err := runtime.AttachKernel(p, opts)
			if err == nil {
				err = k.Close()
			}
			return err
		}
	}
	if !table {
		return []func() error{way(program(t, corp), &runtime.KernelOptions{})}
	}
	engine, err := codegen.GenerateEngine(codegen.Windows)
	require.NoError(t, err)
	other := *engine
	other.Build.Version = "v0.0.1"
	opts := &runtime.KernelOptions{Table: packed(t, corp)}
	return []func() error{way(engine, opts), way(&other, opts)}
}

// after is the next call to fail after the call of number n: of those that read a table's
// pages, one after the other, only some.
func after(n int, failed string) int {
	if strings.HasPrefix(failed, "map_lookup hopgate_table ") {
		return n + 61
	}
	return n + 1
}

// Each call that can fail fails once when a start takes over what is pinned: both
// families go on being judged, whatever fails.
func TestTakeOverFailures(t *testing.T) {
	forms(t, func(t *testing.T, f *fake, table bool) {
		k, _ := attached(t, table)
		require.NoError(t, k.Close())
		for _, takeOver := range takeOvers(t, table) {
			f.reset(0, false)
			require.NoError(t, takeOver())
			total := f.count()
			require.Greater(t, total, 20)
			for n, failed := 1, ""; n <= total; n = after(n, failed) {
				f.reset(n, false)
				err := takeOver()
				failed = f.failed()
				require.GreaterOrEqual(t, f.objects(fakeLinks), 2, "%s: %v", failed, err)
				require.Zero(t, f.objects(fakeFiles), "%s: %v", failed, err)
				f.reset(0, false)
				require.NoError(t, takeOver(), failed) // puts in order what was left
				require.Equal(t, 2, f.objects(fakeLinks), failed)
			}
		}
	})
}

// A start that takes over what is pinned is killed before each of its calls that change
// something: both families go on being judged, and the next start finds the set as it was changed.
func TestTakeOverKilled(t *testing.T) {
	forms(t, func(t *testing.T, f *fake, table bool) {
		k, _ := attached(t, table)
		require.NoError(t, k.Close())
		require.NoError(t, runtime.ChangePinnedSet(pinnedAt, "servers", compiler.AddToSet, []string{"192.0.2.1"}))
		for _, takeOver := range takeOvers(t, table) {
			f.reset(0, false)
			require.NoError(t, takeOver())
			changing := f.changing(t)
			require.NotEmpty(t, changing)
			for _, n := range changing {
				f.kill(n)
				_ = takeOver()
				at := f.failed()
				f.reset(0, false)
				require.Zero(t, f.objects(fakeFiles), at)
				for _, family := range []int{12, 13} {
					require.NotZero(t, f.linked(family), "%s: attach type %d", at, family)
				}
				k, _ := attached(t, table)
				require.Equal(t, ranges(t, "10.0.0.0/8", "192.0.2.1"), values(t, k), at)
				require.NoError(t, k.Close())
				require.Equal(t, 2, f.objects(fakeLinks), at)
			}
		}
	})
}

// A policy of another hook takes the place of the one that is pinned: nothing of that
// goes on judging.
func TestTakeOverByAnotherHook(t *testing.T) {
	f := newFake(t)
	k, _ := attached(t, false)
	require.NoError(t, k.Close())
	in := program(t, "policy in { hook accept\n default deny }")
	k, err := runtime.AttachKernel(in, &runtime.KernelOptions{Pin: pinnedAt})
	require.NoError(t, err)
	require.NoError(t, k.Close())
	require.Zero(t, f.linked(12))
	require.Equal(t, 1, f.linked(5))
	require.Equal(t, 2, f.objects(fakeLinks))
	require.NoError(t, runtime.Unpin(pinnedAt))
	f.clean(t)
}

// A start goes on with a pinned engine at recv_accept, where Windows takes one program.
func TestTakeOverOfAccept(t *testing.T) {
	f := newFake(t)
	engine, err := codegen.GenerateEngine(codegen.Windows)
	require.NoError(t, err)
	for range 2 {
		k, err := runtime.AttachKernel(engine, &runtime.KernelOptions{Pin: pinnedAt, Table: packed(t, "policy in { hook accept\n default deny }")})
		require.NoError(t, err)
		require.NoError(t, k.Close())
		require.Equal(t, 1, f.linked(5))
		require.Equal(t, 1, f.linked(6))
	}
	require.NoError(t, runtime.Unpin(pinnedAt))
	f.clean(t)
}
