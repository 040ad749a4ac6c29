/* SPDX-License-Identifier: Apache-2.0 */
/* TLS as a stream: bytes, ends, readiness, moving. */
#include "unit/transport/tls_house.h"

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
static uint8_t big[400000];

static void
fill_big(void)
{
	uint32_t x = 1;

	for (size_t i = 0; i < sizeof(big); i++) {
		x = x * 1664525u + 1013904223u;
		big[i] = (uint8_t)(x >> 24);
	}
}

static void
meet(int version)
{
	SSL_CTX *ctx = new_client_ctx(version);

	accept_stream(NULL, usual_options());
	start_client(ctx);
	SSL_CTX_free(ctx);
	pump();
}

static void
part_ways(void)
{
	end_client();
	hang_up();
}

static void
both_versions_shake_hands_and_talk(void **state)
{
	static const char *const names[] = {"TLSv1.2", "TLSv1.3"};

	(void)state;
	for (int i = 0; i < 2; i++) {
		meet(versions[i]);
		assert_they_talk();
		assert_string_equal(stream_identity(stream)->tls_version, names[i]);
		assert_true(stream_identity(stream)->is_encrypted);
		assert_false(stream_identity(stream)->has_certificate);
		assert_int_equal(stream_identity(stream)->username.len, 0);
		assert_bytes_text(stream_peer_name(stream), "mem:1");
		part_ways();
	}
}

static void
bytes_may_come_one_by_one(void **state)
{
	(void)state;
	cut = 1;
	for (int i = 0; i < 2; i++) {
		meet(versions[i]);
		assert_they_talk();
		part_ways();
	}
}

static void
a_flight_may_be_cut_anywhere(void **state)
{
	(void)state;
	for (cut = 2; cut < 400; cut += 3) {
		meet(versions[cut % 2]);
		assert_they_talk();
		part_ways();
	}
}

/* The client's last flight and its first bytes come together. */
static void
bytes_behind_the_handshake_are_read_without_another_call(void **state)
{
	SSL_CTX *ctx = new_client_ctx(TLS1_3_VERSION);

	(void)state;
	accept_stream(NULL, usual_options());
	start_client(ctx);
	SSL_CTX_free(ctx);
	step_client();
	carry_up();
	carry_down();
	step_client();
	assert_true(client_is_done);
	assert_int_equal(SSL_write(client, "early", 5), 5);
	carry_up();
	assert_bytes_text(buf_bytes(&received), "early");
}

static void
nothing_is_known_and_nothing_written_before_the_handshake(void **state)
{
	SSL_CTX *ctx = new_client_ctx(TLS1_3_VERSION);

	(void)state;
	accept_stream(NULL, usual_options());
	settle();
	assert_int_equal(last_read, ERR_AGAIN);
	assert_null(stream_identity(stream));
	assert_null(tls_stream_error(stream));
	assert_int_equal(stream_write(stream, &(struct iovec){big, 5}, 1), 0);
	stream_want(stream, STREAM_READ | STREAM_WRITE);
	is_writing = true;
	seen = 0;
	settle();
	assert_int_equal(seen, 0);
	start_client(ctx);
	SSL_CTX_free(ctx);
	for (int i = 0; i < 2; i++) {
		step_client();
		carry_up();
		carry_down();
		if (i == 0) {
			assert_int_equal(seen, 0); /* in its middle nobody is told */
		}
	}
	assert_true((seen & STREAM_WRITE) != 0);
	pump();
	assert_they_talk();
}

static void
a_paused_owner_lets_the_handshake_go_on(void **state)
{
	(void)state;
	reads = false;
	accept_stream(NULL, usual_options());
	settle();
	stream_want(stream, 0);
	calls = 0;
	SSL_CTX *ctx = new_client_ctx(TLS1_2_VERSION);
	start_client(ctx);
	SSL_CTX_free(ctx);
	pump();
	assert_true(client_is_done);
	assert_int_equal(SSL_write(client, "hello", 5), 5);
	pump();
	assert_int_equal(calls, 0);
	reads = true;
	stream_want(stream, STREAM_READ);
	settle();
	assert_bytes_text(buf_bytes(&received), "hello");
}

static void
small_reads_get_everything(void **state)
{
	(void)state;
	fill_big();
	for (int i = 0; i < 2; i++) {
		meet(versions[i]);
		read_size = 1000;
		assert_int_equal(SSL_write(client, big, 100000), 100000);
		pump();
		assert_int_equal(received.len, 100000);
		assert_memory_equal(received.data, big, 100000);
		buf_clear(&received);
		part_ways();
	}
}

static void
what_was_received_waits_while_the_owner_pauses(void **state)
{
	(void)state;
	fill_big();
	meet(TLS1_3_VERSION);
	reads = false;
	calls = 0;
	assert_int_equal(SSL_write(client, big, 40000), 40000);
	carry_up();
	assert_true(calls > 0);
	assert_int_equal(stream_read(stream, big + 300000, 100), 100);
	stream_want(stream, 0);
	settle();
	calls = 0;
	settle();
	assert_int_equal(calls, 0);
	reads = true;
	stream_want(stream, STREAM_READ);
	settle();
	assert_int_equal(received.len, 39900);
	assert_memory_equal(received.data, big + 100, 39900);
	calls = 0;
	settle();
	assert_int_equal(calls, 0);
}

/* Writes all, in odd parts, whenever told that there is room; what is taken is overwritten at once,
 * and what is offered again stands elsewhere: neither may matter. */
static void
write_through(size_t room)
{
	static uint8_t copy[sizeof(big)];
	size_t sent = 0;
	unsigned rounds = 0;

	mem_pipe_set_room(far, room);
	while (sent < sizeof(big)) {
		struct iovec parts[5];
		size_t sizes[5] = {1, 0, 300, 20000, sizeof(big)};
		size_t at = sent;
		int count = 0;
		long taken;

		assert_true(rounds++ < 100000);
		memcpy(copy, big, sizeof(big));
		while (count < 5 && at < sizeof(big)) {
			size_t n =
			    sizes[count] < sizeof(big) - at ? sizes[count] : sizeof(big) - at;

			parts[count++] = (struct iovec){copy + at, n};
			at += n;
		}
		taken = stream_write(stream, parts, count);
		assert_true(taken >= 0);
		memset(copy, 0xee, sizeof(copy));
		sent += (size_t)taken;
		if (sent < sizeof(big)) {
			is_writing = true;
			stream_want(stream, STREAM_READ | STREAM_WRITE);
			for (unsigned i = 0; i < 1000 && is_writing; i++) {
				settle();
				carry_down();
				step_client();
			}
			assert_false(is_writing);
		}
	}
	pump();
	assert_int_equal(client_got.len, sizeof(big));
	assert_memory_equal(client_got.data, big, sizeof(big));
	assert_int_equal(mem_pipe_output(far).len, 0);
}

static void
large_writes_pass_a_narrow_pipe(void **state)
{
	static const size_t rooms[] = {100, 5000, 16406, 100000, SIZE_MAX};

	(void)state;
	fill_big();
	for (size_t i = 0; i < sizeof(rooms) / sizeof(*rooms); i++) {
		meet(versions[i % 2]);
		write_through(rooms[i]);
		assert_they_talk();
		part_ways();
		buf_clear(&received);
	}
}

/* What was taken is sent though the owner does not write again. */
static void
what_is_held_back_goes_out_by_itself(void **state)
{
	(void)state;
	fill_big();
	meet(TLS1_3_VERSION);
	mem_pipe_set_room(far, 10);
	assert_int_equal(stream_write(stream, &(struct iovec){big, 1000}, 1), 1000);
	assert_int_equal(stream_write(stream, &(struct iovec){big, 1000}, 1), 0);
	seen = 0;
	pump();
	assert_int_equal(client_got.len, 1000);
	assert_int_equal(seen & STREAM_WRITE, 0); /* it did not ask */
	assert_int_equal(stream_write(stream, NULL, 0), 0);
}

static void
a_goodbye_is_said_and_heard(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		meet(versions[i]);
		assert_int_equal(SSL_write(client, "bye", 3), 3);
		assert_int_equal(SSL_shutdown(client), 0);
		carry_up();
		assert_bytes_text(buf_bytes(&received), "bye");
		buf_clear(&received);
		assert_int_equal(last_read, 0);
		assert_null(tls_stream_error(stream));
		stream_shut(stream);
		assert_true(mem_pipe_is_closed(far));
		carry_down();
		step_client();
		assert_true(client_has_end);
		assert_int_equal(stream_write(stream, &(struct iovec){big, 1}, 1), ERR_IO);
		part_ways();
	}
}

static void
a_goodbye_waits_for_what_is_held_back(void **state)
{
	(void)state;
	fill_big();
	meet(TLS1_3_VERSION);
	mem_pipe_set_room(far, 10);
	assert_int_equal(stream_write(stream, &(struct iovec){big, 16384}, 1), 16384);
	/* There is room again, but nobody has noticed: still in order. */
	mem_pipe_set_room(far, 100);
	stream_shut(stream);
	stream_shut(stream);
	assert_false(mem_pipe_is_closed(far));
	assert_int_equal(SSL_write(client, "late", 4), 4);
	pump();
	assert_int_equal(client_got.len, 16384);
	assert_true(client_has_end);
	assert_true(mem_pipe_is_closed(far));
	assert_bytes_text(buf_bytes(&received), "late");
}

static void
an_end_without_a_goodbye_is_an_error(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		meet(versions[i]);
		assert_int_equal(SSL_write(client, "cut", 3), 3);
		BIO_write(client_out, "\x17\x03\x03\x01", 4);
		carry_up();
		mem_pipe_close(far, false);
		settle();
		assert_bytes_text(buf_bytes(&received), "cut");
		buf_clear(&received);
		assert_int_equal(last_read, ERR_IO);
		assert_string_equal(
		    tls_stream_error(stream), "the connection ended without close_notify");
		assert_int_equal(stream_read(stream, big, 10), ERR_IO);
		part_ways();
	}
}

static void
an_end_with_bytes_in_front_of_it_is_told_after_them(void **state)
{
	(void)state;
	meet(TLS1_3_VERSION);
	SSL_write(client, "last", 4);
	SSL_shutdown(client);
	read_size = 2;
	carry_up();
	mem_pipe_close(far, false);
	settle();
	assert_bytes_text(buf_bytes(&received), "last");
	assert_int_equal(last_read, 0);
}

static void
who_says_nothing_or_half_a_hello_just_ends(void **state)
{
	(void)state;
	accept_stream(NULL, usual_options());
	mem_pipe_close(far, false);
	settle();
	assert_int_equal(last_read, 0);
	assert_null(tls_stream_error(stream));
	assert_int_equal(stream_write(stream, &(struct iovec){big, 1}, 1), ERR_IO);
	hang_up();
	accept_stream(NULL, usual_options());
	mem_pipe_write(far, bytes_make("\x16\x03\x01", 3));
	settle();
	mem_pipe_close(far, false);
	settle();
	assert_refused("the connection ended in the handshake");
	hang_up();
	accept_stream(NULL, usual_options());
	mem_pipe_close(far, true);
	settle();
	assert_refused("the connection broke");
}

static void
what_is_no_tls_is_refused(void **state)
{
	static const char *const texts[] = {"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	    "\x10\x0c\0\4MQTT\4\2\0\74\0\0", "\x16\x03\x01\xff\xff"};
	static const size_t lens[] = {27, 14, 5};
	static const char *const whys[] = {
	    "http request", "wrong version number", "packet length too long"};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		accept_stream(NULL, usual_options());
		mem_pipe_write(far, bytes_make(texts[i], lens[i]));
		settle();
		assert_refused(whys[i]);
		hang_up();
	}
}

static void
a_broken_record_is_refused(void **state)
{
	uint8_t memory[100];
	int n;

	(void)state;
	meet(TLS1_3_VERSION);
	SSL_write(client, "hello", 5);
	n = BIO_read(client_out, memory, sizeof(memory));
	memory[n - 1] ^= 1;
	mem_pipe_write(far, bytes_make(memory, (size_t)n));
	settle();
	assert_int_equal(last_read, ERR_IO);
	assert_string_equal(tls_stream_error(stream), "decryption failed or bad record mac");
	carry_down();
	step_client();
	assert_string_equal(client_error, "sslv3 alert bad record mac");
}

static void
a_broken_stream_below_is_an_error(void **state)
{
	(void)state;
	meet(TLS1_3_VERSION);
	reads = false;
	mem_pipe_close(far, true);
	assert_int_equal(stream_write(stream, &(struct iovec){big, 5}, 1), ERR_IO);
	assert_string_equal(tls_stream_error(stream), "the connection broke");
	part_ways();
	meet(TLS1_3_VERSION);
	mem_pipe_set_room(far, 3);
	reads = false;
	assert_int_equal(stream_write(stream, &(struct iovec){big, 5}, 1), 5);
	mem_pipe_close(far, true);
	seen = 0;
	settle();
	assert_true((seen & STREAM_READ) != 0);
	assert_int_equal(stream_read(stream, big, 5), ERR_IO);
}

static void
keys_may_be_updated_by_the_client(void **state)
{
	(void)state;
	meet(TLS1_3_VERSION);
	assert_they_talk();
	assert_int_equal(SSL_key_update(client, SSL_KEY_UPDATE_REQUESTED), 1);
	assert_they_talk();
	assert_they_talk();
	mem_pipe_set_room(far, 7);
	assert_int_equal(SSL_key_update(client, SSL_KEY_UPDATE_REQUESTED), 1);
	assert_they_talk();
	assert_they_talk();
}

static void
renegotiation_is_refused(void **state)
{
	SSL_CTX *ctx = new_client_ctx(TLS1_2_VERSION);

	(void)state;
	accept_stream(NULL, usual_options());
	start_client(ctx);
	SSL_CTX_free(ctx);
	pump();
	assert_they_talk();
	assert_int_equal(SSL_renegotiate(client), 1);
	client_is_done = false;
	pump();
	assert_string_equal(client_error, "no renegotiation");
	/* OpenSSL's client takes it hard. */
	assert_string_equal(tls_stream_error(stream), "sslv3 alert handshake failure");
}

/* Cut within and between records, and a little is read before, so that something is left at each
 * stage: decrypted, whole records, a part of one. */
static void
it_moves_in_the_middle_of_buffered_bytes(void **state)
{
	static uint8_t memory[65536];

	(void)state;
	fill_big();
	for (size_t i = 0; i < 80; i++) {
		uint8_t start[8];
		size_t all, at;
		long n;

		meet(versions[i % 2]);
		reads = false;
		SSL_write(client, big, 17);
		SSL_write(client, big + 17, 16384);
		SSL_write(client, big + 16401, 3);
		all = (size_t)BIO_read(client_out, memory, sizeof(memory));
		at = i < 50 ? i : all - (i - 50);
		mem_pipe_write(far, bytes_make(memory, at));
		settle();
		n = stream_read(stream, start, i % 8);
		if (n > 0) {
			buf_append(&received, start, (size_t)n);
		}
		stream_detach(stream);
		stream_detach(stream);
		reads = true;
		attach(1);
		settle();
		mem_pipe_write(far, bytes_make(memory + at, all - at));
		settle();
		assert_int_equal(received.len, 16404);
		assert_memory_equal(received.data, big, 16404);
		assert_they_talk();
		buf_clear(&received);
		part_ways();
	}
}

static void
it_moves_in_the_middle_of_the_handshake_and_of_a_write(void **state)
{
	SSL_CTX *ctx = new_client_ctx(TLS1_3_VERSION);

	(void)state;
	fill_big();
	accept_stream(NULL, usual_options());
	start_client(ctx);
	SSL_CTX_free(ctx);
	for (unsigned i = 0; i < 4; i++) {
		stream_detach(stream);
		step_client();
		carry_up();
		carry_down();
		attach(i % 2);
		settle();
	}
	assert_they_talk();
	mem_pipe_set_room(far, 100);
	buf_clear(&client_got);
	assert_int_equal(stream_write(stream, &(struct iovec){big, 9000}, 1), 9000);
	stream_detach(stream);
	carry_down();
	settle();
	assert_int_equal(mem_pipe_output(far).len, 0);
	attach(1);
	pump();
	assert_int_equal(client_got.len, 9000);
	assert_memory_equal(client_got.data, big, 9000);
}

static void
the_owner_may_free_it_in_ready(void **state)
{
	(void)state;
	meet(TLS1_3_VERSION);
	frees = true;
	SSL_write(client, "hello", 5);
	carry_up();
	assert_null(stream);
	assert_true(mem_pipe_is_closed(far));
}

static void
raising_works_while_paused(void **state)
{
	(void)state;
	meet(TLS1_3_VERSION);
	stream_want(stream, 0);
	calls = seen = 0;
	stream_raise(stream, STREAM_WRITE);
	settle();
	assert_int_equal(calls, 1);
	assert_int_equal(seen, STREAM_WRITE);
	mem_pipe_close(far, false);
	settle();
	assert_int_equal(calls, 2); /* a paused owner is told of the end */
	assert_int_equal(last_read, ERR_IO);
}

/* Both directions at once, sizes, rooms, pauses and moves by chance. */
static void
anything_at_any_time_arrives_in_order(void **state)
{
	(void)state;
	fill_big();
	for (unsigned seed = 1; seed <= 30; seed++) {
		size_t up = 0, down = 0;

		srand(seed);
		meet(versions[seed % 2]);
		for (unsigned i = 0; i < 400; i++) {
			size_t n = (size_t)rand() % (rand() % 8 == 0 ? 40000 : 300) + 1;
			struct iovec part = {big + down, n};

			cut = rand() % 3 == 0 ? (size_t)rand() % 3000 + 1 : 0;
			switch (rand() % 7) {
			case 0:
			case 1:
				if (up + n < sizeof(big) &&
				    SSL_write(client, big + up, (int)n) > 0) {
					up += n;
				}
				break;
			case 2:
			case 3:
				if (down + n < sizeof(big)) {
					down += (size_t)stream_write(stream, &part, 1);
				}
				break;
			case 4:
				mem_pipe_set_room(far, (size_t)rand() % 20000);
				read_size = (size_t)rand() % 5000 + 1;
				break;
			case 5:
				stream_want(stream, rand() % 2 == 0 ? 0 : STREAM_READ);
				break;
			case 6:
				stream_detach(stream);
				carry_up();
				attach((unsigned)rand() % 2);
				break;
			}
			if (rand() % 2 == 0) {
				carry_up();
			}
			if (rand() % 2 == 0) {
				carry_down();
				step_client();
			}
		}
		mem_pipe_set_room(far, SIZE_MAX);
		stream_want(stream, STREAM_READ);
		cut = 0;
		pump();
		assert_int_equal(received.len, up);
		assert_memory_equal(received.data, big, up);
		assert_int_equal(client_got.len, down);
		assert_memory_equal(client_got.data, big, down);
		buf_clear(&received);
		part_ways();
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(both_versions_shake_hands_and_talk),
	    CASE(bytes_may_come_one_by_one),
	    CASE(a_flight_may_be_cut_anywhere),
	    CASE(bytes_behind_the_handshake_are_read_without_another_call),
	    CASE(nothing_is_known_and_nothing_written_before_the_handshake),
	    CASE(a_paused_owner_lets_the_handshake_go_on),
	    CASE(small_reads_get_everything),
	    CASE(what_was_received_waits_while_the_owner_pauses),
	    CASE(large_writes_pass_a_narrow_pipe),
	    CASE(what_is_held_back_goes_out_by_itself),
	    CASE(a_goodbye_is_said_and_heard),
	    CASE(a_goodbye_waits_for_what_is_held_back),
	    CASE(an_end_without_a_goodbye_is_an_error),
	    CASE(an_end_with_bytes_in_front_of_it_is_told_after_them),
	    CASE(who_says_nothing_or_half_a_hello_just_ends),
	    CASE(what_is_no_tls_is_refused),
	    CASE(a_broken_record_is_refused),
	    CASE(a_broken_stream_below_is_an_error),
	    CASE(keys_may_be_updated_by_the_client),
	    CASE(renegotiation_is_refused),
	    CASE(it_moves_in_the_middle_of_buffered_bytes),
	    CASE(it_moves_in_the_middle_of_the_handshake_and_of_a_write),
	    CASE(the_owner_may_free_it_in_ready),
	    CASE(raising_works_while_paused),
	    CASE(anything_at_any_time_arrives_in_order),
	};

	return cmocka_run_group_tests(tests, open_house, close_house);
}
