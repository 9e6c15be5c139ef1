// Package windows tests the runtime for eBPF for Windows against a stand-in for
// its ebpfapi.dll: what is called, in which order, and what is cleaned up. No
// program runs and no connection is judged here.
package windows

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/runtime"
)

const corp = `policy corp {
  default deny
  set servers dynamic = { 10.0.0.0/8, 2001:db8::/32 }
  rule loopback: allow hard if interface_type == loopback
  rule smb: deny log if remote_port == 445/tcp and family == ipv4
  rule servers: allow if remote_address in $servers
}`

func diagram(t *testing.T, text string) *compiler.Diagram {
	t.Helper()
	file, err := lang.Parse("corp.hop", []byte(text))
	require.NoError(t, err)
	policy, err := compiler.Check(file, nil)
	require.NoError(t, err)
	d, err := compiler.Compile(policy, nil)
	require.NoError(t, err)
	return d
}

func program(t *testing.T, text string) *codegen.Program {
	t.Helper()
	p, err := codegen.Generate(diagram(t, text), nil)
	require.NoError(t, err)
	return p
}

// slots counts the 8-byte instructions of a function, by which the recorded calls
// tell programs apart.
func slots(p *codegen.Program, function string) int {
	for i := range p.Functions {
		if p.Functions[i].Name == function {
			return int(p.Functions[i].Instructions.Size() / 8)
		}
	}
	return -1
}

// requireContents checks that the maps were given what the program has for them.
// Names of maps are recorded up to a length.
func requireContents(t *testing.T, f *fake, p *codegen.Program, length int) {
	t.Helper()
	updates := 0
	for _, m := range p.Maps {
		for _, kv := range m.Contents {
			updates++
			key := fmt.Sprintf("map_update %.*s key=%x value=", length, m.Name, bytesOf(t, kv.Key))
			if _, inner := kv.Value.(string); inner {
				require.Len(t, f.recorded(key), 1) // of a file of the inner map
				continue
			}
			value := bytesOf(t, kv.Value)
			if len(value) > 32 {
				require.Contains(t, f.calls(), fmt.Sprintf("%s%x..", key, value[:32]))
			} else {
				require.Contains(t, f.calls(), fmt.Sprintf("%s%x", key, value))
			}
		}
	}
	require.NotZero(t, updates)
	require.Len(t, f.recorded("map_update"), updates)
}

func bytesOf(t *testing.T, v any) []byte {
	t.Helper()
	b, err := binary.Append(nil, binary.LittleEndian, v)
	require.NoError(t, err)
	return b
}

func TestAttach(t *testing.T) {
	f := newFake(t)
	p := program(t, corp)
	four, six := slots(p, "connect_authorization4"), slots(p, "connect_authorization6")
	require.NotEqual(t, four, six)
	k, err := runtime.AttachKernel(p, &runtime.KernelOptions{})
	require.NoError(t, err)

	require.ElementsMatch(t, []string{
		fmt.Sprintf("prog_load type=3 instructions=%d", four),
		fmt.Sprintf("prog_load type=3 instructions=%d", six),
	}, f.recorded("prog_load"), "BPF_PROG_TYPE_CGROUP_SOCK_ADDR is 3")
	require.Equal(t, []string{
		fmt.Sprintf("attach instructions=%d 6076c13a-f04f-4ff8-8380-908553f22276", four),
		fmt.Sprintf("attach instructions=%d 54b0b6ed-432a-4674-8b27-8d9f5b40c675", six),
	}, f.recorded("attach instructions"))
	requireContents(t, f, p, 15)
	require.Equal(t, 2, f.objects(fakeLinks))

	require.NoError(t, k.Close())
	f.clean(t)
	f.closesOnce(t)
	require.ErrorIs(t, k.Close(), runtime.ErrClosed)
}

// Maps are full before the first program is attached.
func TestMapsBeforeLinks(t *testing.T) {
	f := newFake(t)
	k, err := runtime.AttachKernel(program(t, corp), &runtime.KernelOptions{})
	require.NoError(t, err)
	attached := false
	for _, call := range f.recorded("map_update", "attach instructions") {
		if attached {
			require.NotContains(t, call, "map_update")
		}
		attached = attached || call[:6] == "attach"
	}
	require.True(t, attached)
	require.NoError(t, k.Close())
	f.clean(t)
	f.closesOnce(t)
}

func TestAttachAccept(t *testing.T) {
	f := newFake(t)
	k, err := runtime.AttachKernel(program(t, "policy in { hook accept\n default deny }"), &runtime.KernelOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"attach_type a82e37b3-aee7-11ec-9a30-18602489beee", "attach_type a82e37b4-aee7-11ec-9a30-18602489beee"}, f.recorded("attach_type"))
	require.NoError(t, k.Close())
	f.clean(t)
	f.closesOnce(t)
}

// Windows takes one program at recv_accept: an update that would leave nothing to judge
// for a moment is refused, and the policy before it stays.
func TestAcceptIsNotReplaced(t *testing.T) {
	f := newFake(t)
	in := program(t, "policy in { hook accept\n default deny }")
	k, err := runtime.AttachKernel(in, &runtime.KernelOptions{Pin: "hopgate/in"})
	require.NoError(t, err)
	require.ErrorContains(t, k.Update(in), "cgroup/recv_accept4 takes one program, so this one cannot be replaced while it judges: run it with --form table")
	require.Len(t, f.recorded("attach instructions"), 2)
	require.NoError(t, k.Close())
	status, err := runtime.PinnedStatus("hopgate/in")
	require.NoError(t, err)
	require.Len(t, status.Stages, 2)
	for _, s := range status.Stages {
		require.Contains(t, s.Section, "cgroup/recv_accept")
		require.True(t, s.Attached, s.Section)
	}

	_, err = runtime.AttachKernel(in, &runtime.KernelOptions{Pin: "hopgate/in"})
	require.ErrorContains(t, err, "cgroup/recv_accept4 takes one program, and one is pinned in hopgate/in: take it off with `hopgate unpin`")
	_, err = runtime.AttachKernel(in, &runtime.KernelOptions{})
	require.ErrorContains(t, err, "attaching at cgroup/recv_accept4, which takes one program (is another attached?)")
	require.NoError(t, runtime.Unpin("hopgate/in"))
	f.clean(t)

	k, err = runtime.AttachKernel(in, &runtime.KernelOptions{})
	require.NoError(t, err)
	require.NoError(t, k.Close())
	f.clean(t)
	f.closesOnce(t)
}

// Each call that can fail fails once: the error is reported, or it did not matter,
// and nothing is left either way.
func TestCleanUpAfterEachFailure(t *testing.T) {
	f := newFake(t)
	engine, err := codegen.GenerateEngine(codegen.Windows)
	require.NoError(t, err)
	table, err := codegen.GenerateTable(diagram(t, corp), nil, codegen.Build{})
	require.NoError(t, err)
	// What is read of an engine's table tells which it is and where it counts.
	engineSpared := []string{"info connect_authori", "map_lookup hopgate_policy key=00000000", "map_by_id", "info hopgate_table", "map_lookup hopgate_table key=00000000"}
	cases := map[string]struct {
		program *codegen.Program
		opts    runtime.KernelOptions
		spared  []string // calls that may fail
	}{
		"instructions": {program(t, corp), runtime.KernelOptions{}, []string{"info connect_authori"}},
		"engine":       {engine, runtime.KernelOptions{Table: table}, engineSpared},
		"driver":       {program(t, corp), runtime.KernelOptions{Driver: driver(t, program(t, corp))}, []string{"info connect_authorization4", "info connect_authorization6"}},
		"pinned":       {engine, runtime.KernelOptions{Table: table, Pin: "hopgate/corp"}, engineSpared},
		"pinned code":  {program(t, corp), runtime.KernelOptions{Pin: "hopgate/corp"}, []string{"info connect_authori"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			c.opts.Event = func(*codegen.Program, *codegen.Event) {}
			f.reset(0, false)
			k, err := runtime.AttachKernel(c.program, &c.opts)
			require.NoError(t, err)
			total := f.count()
			require.NoError(t, k.Close())
			unpin(t, f)
			f.clean(t)
			require.Greater(t, total, 10)
			for n := 1; n <= total; n++ {
				f.reset(n, false)
				k, err := runtime.AttachKernel(c.program, &c.opts)
				failed := f.failed()
				if err == nil {
					require.Contains(t, c.spared, failed)
					require.Equal(t, 2, f.objects(fakeLinks))
					require.NoError(t, k.Close())
				} else {
					require.ErrorIs(t, err, runtime.ErrKernel, failed)
				}
				unpin(t, f)
				require.Zero(t, f.objects(fakeLinks), failed)
				f.clean(t)
				if !strings.Contains(failed, "info ") || name != "driver" {
					f.closesOnce(t) // cilium/ebpf 0.22 closes the files of a driver it fails to look into twice
				}
			}
		})
	}
}

// An update attaches the new program before it detaches the old one; one that fails
// leaves the old one attached.
func TestUpdate(t *testing.T) {
	f := newFake(t)
	old, next := program(t, corp), program(t, "policy next { default deny\n rule smb: allow if remote_port == 445\n rule web: allow if remote_port == 443 }")
	k, err := runtime.AttachKernel(old, &runtime.KernelOptions{})
	require.NoError(t, err)
	require.NoError(t, k.Map(codegen.CountersMap).Put(uint32(1), perCPU(t, 3)))

	f.reset(0, false)
	require.NoError(t, k.Update(next))
	calls := f.recorded("attach instructions", "  link")
	require.Len(t, calls, 4)
	require.Equal(t, fmt.Sprintf("attach instructions=%d 6076c13a-f04f-4ff8-8380-908553f22276", slots(next, "connect_authorization4")), calls[0])
	require.Equal(t, "  link 6076c13a-f04f-4ff8-8380-908553f22276 is gone", calls[2])
	require.NoError(t, k.Map(codegen.CountersMap).Put(uint32(0), perCPU(t, 4)))
	status, err := k.Status()
	require.NoError(t, err)
	require.Equal(t, 2, status.Generation)
	require.Equal(t, "smb", status.Rules[0].ID)
	require.Equal(t, uint64(3+4), status.Rules[0].Decisions, "of both programs")
	require.Len(t, status.Stages, 2)
	require.True(t, status.Stages[0].Attached)

	total := f.count()
	for n := 1; n <= total; n++ {
		f.reset(n, false)
		if err := k.Update(old); err == nil {
			continue
		}
		require.Equal(t, 2, f.objects(fakeLinks), f.failed())
		require.Equal(t, 2, f.objects(fakePrograms), f.failed())
	}
	require.NoError(t, k.Close())
	f.clean(t)
	f.closesOnce(t)
}

// perCPU is a counter that one processor has counted.
func perCPU(t *testing.T, n uint64) []uint64 {
	cpus, err := ebpf.PossibleCPU()
	require.NoError(t, err)
	values := make([]uint64, cpus)
	values[cpus-1] = n
	return values
}

func TestEvents(t *testing.T) {
	f := newFake(t)
	type seen struct {
		rule   string
		remote string
	}
	events := make(chan seen, 4)
	k, err := runtime.AttachKernel(program(t, corp), &runtime.KernelOptions{Event: func(p *codegen.Program, e *codegen.Event) {
		events <- seen{p.Rules[e.Rule].ID, e.Request.Remote.String()}
	}})
	require.NoError(t, err)
	f.event(event())
	require.Equal(t, seen{"smb", "10.0.0.9:445"}, <-events)
	f.event(event())
	require.NoError(t, k.Close()) // after the events that are written
	require.Equal(t, seen{"smb", "10.0.0.9:445"}, <-events)
	f.clean(t)
	f.closesOnce(t)
}

// event is one of rule 1 for 10.0.0.9:445, as a program writes it.
func event() []byte {
	b := make([]byte, codegen.EventSize)
	b[0] = 1
	binary.LittleEndian.PutUint32(b[4:], ^uint32(0))
	b[8], b[10] = 0, 6
	binary.LittleEndian.PutUint16(b[12:], 445)
	copy(b[16+10:], []byte{0xff, 0xff, 10, 0, 0, 9})
	return b
}

// An engine gets its policy before it is attached, and another by one update.
func TestEngine(t *testing.T) {
	f := newFake(t)
	engine, err := codegen.GenerateEngine(codegen.Windows)
	require.NoError(t, err)
	table := func(text string) *codegen.Table {
		table, err := codegen.GenerateTable(diagram(t, text), nil, codegen.Build{})
		require.NoError(t, err)
		return table
	}
	k, err := runtime.AttachKernel(engine, &runtime.KernelOptions{Driver: driver(t, engine), Table: table(corp)})
	require.NoError(t, err)
	order := f.recorded("map_update hopgate_policy", "attach ")
	require.Len(t, order, 3, "of the entry points only those of the policy's hook")
	require.Contains(t, order[0], "map_update hopgate_policy key=00000000")

	f.reset(0, false)
	require.NoError(t, k.LoadTable(table("policy next { default deny\n rule web: allow if remote_port == 443 }")))
	require.Len(t, f.recorded("map_update hopgate_policy"), 1)
	require.Empty(t, f.recorded("attach", "close link"))
	status, err := k.Status()
	require.NoError(t, err)
	require.Equal(t, "next", status.Policy)
	require.Equal(t, "web", status.Rules[0].ID)

	require.ErrorContains(t, k.LoadTable(table("policy in { hook accept\n default deny }")), "attached at hook connect")
	require.ErrorContains(t, k.Update(engine), "is what it was signed as")
	require.NoError(t, k.Close())
	f.clean(t)
	f.closesOnce(t)
}

// What is pinned outlives the process, and the next one goes on with it: with the engine
// itself, where that is its own, and else by one that it attaches before the one of before
// goes. Of a driver that is a copy, as Windows has no file loaded twice.
func TestPin(t *testing.T) {
	f := newFake(t)
	engine, err := codegen.GenerateEngine(codegen.Windows)
	require.NoError(t, err)
	other := *engine
	other.Build.Version = "v0.0.1"
	for name, file := range map[string]string{"instructions": "", "driver": driver(t, engine)} {
		t.Run(name, func(t *testing.T) {
			run := func(engine *codegen.Program, text string) {
				t.Helper()
				k, err := runtime.AttachKernel(engine, &runtime.KernelOptions{Table: packed(t, text), Pin: "hopgate/corp", Driver: file})
				require.NoError(t, err)
				status, err := k.Status()
				require.NoError(t, err)
				require.NotZero(t, status.Stages[0].Program)
				require.NoError(t, k.Close())
				require.Zero(t, f.objects(fakeFiles))
				require.Equal(t, 2, f.objects(fakeLinks))
			}
			run(engine, corp)
			f.reset(0, false)
			run(engine, "policy next { default deny }")
			require.Empty(t, f.recorded("attach instructions", "prog_load", "load_native"))
			require.Len(t, f.recorded("map_update hopgate_policy"), 1)
			status, err := runtime.PinnedStatus("hopgate/corp")
			require.NoError(t, err)
			require.Equal(t, "next", status.Policy)
			require.Equal(t, 2, status.Generation)

			f.reset(0, false)
			run(&other, corp)
			require.Contains(t, f.recorded("attach instructions", "  link")[1], "attach", "both new links before the first old one goes")
			require.NoError(t, runtime.Unpin("hopgate/corp"))
			require.ErrorIs(t, runtime.Unpin("hopgate/corp"), fs.ErrNotExist)
			f.clean(t)
			f.closesOnce(t)
		})
	}
}

func TestRefusals(t *testing.T) {
	f := newFake(t)
	refused := func(text string, p *codegen.Program, opts runtime.KernelOptions) {
		t.Helper()
		_, err := runtime.AttachKernel(p, &opts)
		require.ErrorContains(t, err, text)
		f.clean(t)
	}
	f.reset(0, true)
	refused("this eBPF for Windows does not know cgroup/connect_authorization4; version 1.3.0 is the first that does", program(t, corp), runtime.KernelOptions{})
	f.reset(0, false)
	other := program(t, "policy next { default deny\n rule web: allow if remote_port == 443 }")
	accept := program(t, "policy in { hook accept\n default deny }")
	three := program(t, "policy three { default deny\n rule a: allow if remote_port == 1\n rule b: allow if remote_port == 2\n rule c: allow if remote_port == 3 }")
	refused("has no map `hopgate_events`", program(t, corp), runtime.KernelOptions{Driver: driver(t, three)})
	refused("has no program `connect_authorization", other, runtime.KernelOptions{Driver: driver(t, accept)})
	refused("its map `hopgate_counters` is not that of the policy: MaxEntries", three, runtime.KernelOptions{Driver: driver(t, other)})
	refused("is no driver", other, runtime.KernelOptions{Driver: `C:\corp.o`})
	refused(`loading driver C:\no such\corp.sys`, other, runtime.KernelOptions{Driver: `C:\no such\corp.sys`})
	linux, err := codegen.Generate(diagram(t, corp), &codegen.Options{Target: codegen.Linux})
	require.NoError(t, err)
	refused("the program is for target linux", linux, runtime.KernelOptions{})
}

// Why a host takes no instructions is said in words, for programs that call their own
// functions (sets do) too.
func TestInstructionsRefused(t *testing.T) {
	const eperm, eacces, einval, eother = 1, 13, 22, 131 // as eBPF for Windows has them
	f := newFake(t)
	for _, text := range []string{corp, "policy plain { default deny }"} {
		for _, c := range []struct {
			errno int
			log   string
			want  string
		}{
			{eacces, "0: something is wrong", "its verifier refuses the program: "}, // EBPF_VERIFICATION_FAILED
			{eperm, "", "loading programs takes an administrator: "},                // EBPF_ACCESS_DENIED
			{einval, "", "it takes no instructions here, "},                         // a build that is native only
			{eother, "", "it takes no instructions here, "},                         // EBPF_JIT_COMPILATION_FAILED
		} {
			f.refuse(c.errno, c.log)
			_, err := runtime.AttachKernel(program(t, text), &runtime.KernelOptions{})
			require.ErrorContains(t, err, c.want, text)
			f.clean(t)
		}
	}
}
