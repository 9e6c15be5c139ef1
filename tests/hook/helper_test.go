package hook

import (
	"encoding/binary"
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime"
)

// helperAnswer turns the answer of helper 65538 into a verdict: failure into a
// hard permit, 0 into a soft one.
func TestNetworkContextHelper(t *testing.T) {
	for _, s := range []story{{
		name:     "at the authorization layer it succeeds",
		attached: []attached{{"asks", authorize4, helperAnswer(32), 0}, {"asks", authorize6, helperAnswer(32), 0}},
		steps:    []step{connect(server, "allow | asks: allow"), connect("[2001:db8::1]:443", "allow | asks: allow")},
	}, {
		name:     "at recv_accept it succeeds",
		attached: []attached{{"asks", recvAccept4, helperAnswer(32), 0}},
		steps:    []step{accept(server, "allow | asks: allow")},
	}, {
		name:     "at the redirect layer it fails",
		attached: []attached{{"asks", redirect4, helperAnswer(32), 0}, {"asks", redirect6, helperAnswer(32), 0}},
		steps:    []step{connect(server, "allow-hard | asks: allow-hard"), connect("[2001:db8::1]:443", "allow-hard | asks: allow-hard")},
	}, {
		name:     "for size 0 it fails",
		attached: []attached{{"asks", authorize4, helperAnswer(0), 0}},
		steps:    []step{connect(server, "allow-hard | asks: allow-hard")},
	}, {
		name:     "for a null buffer it fails",
		attached: []attached{{"asks", authorize4, helperNull(), 0}},
		steps:    []step{connect(server, "allow-hard | asks: allow-hard")},
	}, {
		name:     "for a larger struct than it knows it succeeds",
		attached: []attached{{"asks", authorize4, returnsAfter(largeNetworkContext()), 0}},
		steps:    []step{connect(server, "allow | asks: allow")},
	}, {
		name:     "a buffer that reaches beyond the stack is a fault",
		attached: []attached{{"asks", authorize4, helperAnswer(64), 0}},
		steps:    []step{connect(server, "deny | asks: deny")},
	}} {
		t.Run(s.name, s.run)
	}
}

// largeNetworkContext calls helper 65538 with all 64 bytes of the buffer.
func largeNetworkContext() asm.Instructions {
	code := networkContext(64)
	for i := range code {
		if code[i].Constant == -codegen.NetworkContextSize {
			code[i].Constant = -64
		}
	}
	return code
}

func returnsAfter(code asm.Instructions) asm.Instructions {
	return append(code, asm.Add.Imm(asm.R0, proceedSoft), asm.Return())
}

// A program that was compiled for an older, shorter struct gets the start of the
// present one, and nothing beyond the size it gave.
func TestStructVersions(t *testing.T) {
	const untouched = 0x6e
	r := compiler.Request{InterfaceType: 0x11223344, TunnelType: 0x55667788, NextHop: 0x0102030405060708, SubInterface: 0x0a0b0c0d}
	full := make([]byte, codegen.NetworkContextSize)
	require.True(t, runtime.PutNetworkContext(full, authorize4, &r))
	for _, size := range []int32{1, 4, 7, 8, 12, 16, 24, 28, 31, 32} {
		for at := range int16(32) {
			a := attached{"reads", authorize4, contextByte(size, at), 0}
			want := int32(untouched)
			if int32(at) < size {
				want = int32(full[at])
			}
			require.Equal(t, want, testRun(t, a, &r), "byte %d of a struct of %d", at, size)
		}
	}
}

// testRun runs a program on a test context with a request.
func testRun(t *testing.T, a attached, r *compiler.Request) int32 {
	instance, err := runtime.Load(a.program())
	require.NoError(t, err)
	context, err := runtime.TestContext(a.layer, r)
	require.NoError(t, err)
	returned, _, err := instance.TestRun(a.layer, context)
	require.NoError(t, err)
	return returned
}

func TestTestRun(t *testing.T) {
	r := to(server)
	test, err := runtime.TestContext(authorize4, &r)
	require.NoError(t, err)
	plain := test[codegen.TestContextSockAddr:codegen.TestContextNetwork]
	changed := func(at int) []byte {
		b := append([]byte(nil), test...)
		b[at]++
		return b
	}
	const failed, succeeded = proceedHard, proceedSoft
	for _, c := range []struct {
		name    string
		code    asm.Instructions
		context []byte
		want    int32
		err     string
	}{
		{"with a network context the helper succeeds", helperAnswer(32), test, succeeded, ""},
		{"the program sees the network context", contextByte(32, codegen.NetworkContextInterfaceType), test, 6, ""},
		{"with a plain bpf_sock_addr_t the helper fails", helperAnswer(32), plain, failed, ""},
		{"what is longer, but no test context, is taken for a plain one", helperAnswer(32), test[:codegen.TestContextSize-1], failed, ""},
		{"any value can be returned", returns(-7), plain, -7, ""},
		{"there is no proxy to leave a redirect context to", leavesRedirectContext(1), test, 0, ""},
		{"a context that is too short", returns(1), plain[:63], 0, "context of 63 bytes"},
		{"another version of the header", returns(1), changed(codegen.TestContextVersion), 0, "test context of version 2"},
		{"another size in the header", returns(1), changed(codegen.TestContextLength), 0, "size 121"},
		{"another total size in the header", returns(1), changed(codegen.TestContextTotal), 0, "total size 121"},
		{"another version of the network context", returns(1), changed(codegen.TestContextNetwork), 0, "network context of version 2"},
		{"a program that cannot be run", faults(), plain, 0, "instruction 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := attached{"test", authorize4, c.code, 0}
			instance, err := runtime.Load(a.program())
			require.NoError(t, err)
			returned, _, err := instance.TestRun(authorize4, c.context)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, returned)
		})
	}
}

// A test run gives back the context as the program left it.
func TestTestRunGivesContextBack(t *testing.T) {
	r := to(server)
	test, err := runtime.TestContext(authorize4, &r)
	require.NoError(t, err)
	for name, context := range map[string][]byte{"test context": test, "plain": test[codegen.TestContextSockAddr:codegen.TestContextNetwork]} {
		a := attached{"redirects", redirect4, sendsTo(proxy, proceedSoft), 0}
		instance, err := runtime.Load(a.program())
		require.NoError(t, err)
		_, out, err := instance.TestRun(redirect4, context)
		require.NoError(t, err)
		require.Len(t, out, len(context))
		at := len(out) - len(test) + codegen.TestContextSockAddr
		if name == "plain" {
			at = 0
		}
		require.Equal(t, proxy, runtime.SockAddrRequest(out[at:], redirect4).Remote.String(), name)
	}
}

func TestProcessHelpers(t *testing.T) {
	process := runtime.Process{PID: 0, TID: 1, LogonID: 2, Admin: true}
	for _, c := range []struct {
		name   string
		helper asm.BuiltinFunc
		want   string
	}{
		{"get_current_pid_tgid", codegen.HelperCurrentPidTgid, "allow"},
		{"get_current_pid_tgid by its old number", codegen.HelperCurrentPidTgidOld, "allow"},
		{"get_current_logon_id", codegen.HelperCurrentLogonID, "allow-hard"},
		{"is_current_admin", codegen.HelperIsCurrentAdmin, "allow"},
		{"get_socket_cookie", codegen.HelperSocketCookie, "allow"},
	} {
		s := story{
			options:  runtime.HookOptions{Process: process},
			attached: []attached{{"asks", authorize4, asks(c.helper), 0}},
			steps:    []step{connect(server, c.want+" | asks: "+c.want)},
		}
		t.Run(c.name, s.run)
	}
	second := story{
		attached: []attached{{"cookie", authorize4, asks(codegen.HelperSocketCookie), 0}},
		steps: []step{
			connect(server, "allow | cookie: allow"),
			connect(server, "allow-hard | cookie: allow-hard"),
			reauthorize("allow | cookie: allow; allow-hard | cookie: allow-hard"),
		},
	}
	t.Run("the cookie is another for each connection and stays with it", second.run)
}

// A redirect program can leave bytes for the proxy; authorization programs cannot.
func TestRedirectContext(t *testing.T) {
	for _, c := range []struct {
		layer codegen.AttachType
		want  string
		left  []byte
	}{
		{redirect4, "allow | leaves: allow", binary.LittleEndian.AppendUint64(nil, 0x1122334455667788)},
		{authorize4, "deny | leaves: deny", nil},
	} {
		s := story{
			attached: []attached{{"leaves", c.layer, leavesRedirectContext(0x1122334455667788), 0}},
			steps: []step{
				connect(server, c.want),
				{func(h *host) string { return string(h.flows[0].RedirectContext()) }, string(c.left)},
			},
		}
		t.Run(c.layer.Section(), s.run)
	}
}
