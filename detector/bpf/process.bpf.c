// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Who connects: each distinct process description gets a number, which is what keys of counts hold. */

struct process {
	u64 cgroup;
	u32 uid;
	u32 login_uid;
	u32 session;
	/* Numbers in `paths`; 0: none or unknown. */
	u32 executable;
	u32 script;
	u32 parent_executable;
	u8 deleted;
	u8 parent_deleted;
	u8 interprets;
	u8 unused;
	char command[16];
	u32 unused_too;
};

BPF_HASH(processes, struct process, u32, NAMED_ENTRIES);
BPF_PERCPU_ARRAY(process_numbers, u32, 1);

/* Numbered where a process does something, never in an interrupt: see number_scratch. */
static inline u32 number_process(struct process *process)
{
	int zero = 0;
	u32 *known = processes.lookup(process);

	if (known)
		return *known;
	u32 *count = process_numbers.lookup(&zero);
	if (!count)
		return 0;
	*count += 1;
	u32 number = (*count << 10) | (bpf_get_smp_processor_id() & 1023);
	if (!processes.insert(process, &number))
		return number;
	known = processes.lookup(process);
	if (known)
		return *known;
	add_one(LOST_UNNUMBERED);
	return 0;
}

#ifdef TYPES

#define PF_FORKNOEXEC 0x40
#define FORKS_FOLLOWED 8

/* The script that a process was started for; `started` tells it from another one that got its number later. */
struct script {
	u64 started;
	u32 number;
	/* `#!/usr/bin/env python3`: what env starts next is given the script. */
	u32 through_env;
};
BPF_TABLE("lru_hash", u32, struct script, scripts, 8192);

static inline u64 start_of(u64 task)
{
	u64 leader = 0, started = 0;

	READ(leader, task + OFFSET_task_struct_group_leader);
	READ(started, leader + OFFSET_task_struct_start_time);
	return started;
}

/* A child that has not started a program of its own still runs its parent's script. */
static inline u32 script_of(u64 task)
{
	/* As a loop it can end so that the code falls back to its beginning, which kernels before 6.3 or so refuse. */
#pragma unroll
	for (int i = 0; i < FORKS_FOLLOWED; i++) {
		u32 id = 0, flags = 0;

		READ(id, task + OFFSET_task_struct_tgid);
		struct script *script = scripts.lookup(&id);
		if (script && script->started == start_of(task))
			return script->number;
		READ(flags, task + OFFSET_task_struct_flags);
		if (!(flags & PF_FORKNOEXEC))
			return 0;
		READ(task, task + OFFSET_task_struct_real_parent);
	}
	return 0;
}

#endif

/* Filled in here and not on the stack: the verifier does not follow what is in it, or it would try each combination. */
BPF_PERCPU_ARRAY(process_scratch, struct process, 1);

#ifdef TYPES

/* Number of the snapshot under way. */
BPF_ARRAY(generation, u32, 1);
/* Programs started since the beginning, on all processors. */
BPF_ARRAY(executions, u64, 1);

/* Everything that tells that the process which ran last on this processor runs still, and is what it was. While no
 * program starts, a task executes the same file; user space forgets numbers between snapshots only. */
struct identity {
	u64 task;
	u64 started;
	u64 memory;
	u64 parent;
	u64 parent_memory;
	u64 cgroup;
	u64 executions;
	u64 generation;
	u32 uid;
	u32 deleted;
	u32 login_uid;
	u32 session;
	char command[16];
};
#define IDENTITY_WORDS (sizeof(struct identity) / sizeof(u64))

struct identified {
	struct identity now;
	struct identity last;
	/* Of the last: its number, and whether where its session came from is yet to be learnt. */
	u32 number;
	u32 origin_open;
};
BPF_PERCPU_ARRAY(identified, struct identified, 1);

/* In the unified hierarchy, as bpf_get_current_cgroup_id() has it. */
static inline u64 control_group_of(u64 task)
{
	u64 set = 0, group = 0, node = 0, number = 0;

	LOAD(set, task + OFFSET_task_struct_cgroups);
	LOAD(group, set + OFFSET_css_set_dfl_cgrp);
	LOAD(node, group + OFFSET_cgroup_kn);
	LOAD(number, node + OFFSET_kernfs_node_id);
	return number;
}

/* See is_deleted. */
static inline u32 runs_deleted(u64 memory)
{
	u64 file = 0, dentry = 0, hashed = 1;

	if (!memory)
		return 0;
	LOAD(file, memory + OFFSET_mm_struct_exe_file);
	if (!file)
		return 0;
	LOAD(dentry, file + OFFSET_file_f_path + DENTRY_IN_PATH);
	if (!dentry)
		return 0;
	LOAD(hashed, dentry + OFFSET_dentry_d_hash + OFFSET_hlist_bl_node_pprev);
	return !hashed;
}

static inline bool identify(struct identity *now)
{
	int zero = 0;
	u64 task = (u64)bpf_get_current_task_btf(), memory = 0, parent = 0, credentials = 0;
	u64 *started = executions.lookup(&zero), *command = (u64 *)now->command;
	u32 *snapshot = generation.lookup(&zero);

	if (!started || !snapshot)
		return false;
	now->executions = *started;
	now->generation = *snapshot;
	now->task = task;
	now->cgroup = control_group_of(task);
	/* Whose rights it has: of a set-uid program, those of its owner. */
	LOAD(credentials, task + OFFSET_task_struct_cred);
	LOAD(now->uid, credentials + OFFSET_cred_euid);
	now->login_uid = now->session = UNKNOWN_ID;
#ifdef OFFSET_task_struct_sessionid
	LOAD(now->login_uid, task + OFFSET_task_struct_loginuid);
	LOAD(now->session, task + OFFSET_task_struct_sessionid);
#endif
	LOAD(now->started, task + OFFSET_task_struct_start_time);
	LOAD(memory, task + OFFSET_task_struct_mm);
	now->memory = memory;
	now->deleted = runs_deleted(memory);
	LOAD(parent, task + OFFSET_task_struct_real_parent);
	now->parent = parent;
	LOAD(memory, parent + OFFSET_task_struct_mm);
	now->parent_memory = memory;
	LOAD(command[0], task + OFFSET_task_struct_comm);
	LOAD(command[1], task + OFFSET_task_struct_comm + sizeof(u64));
	return true;
}

static inline bool is_same_identity(struct identity *one, struct identity *other)
{
	volatile u64 *a = (u64 *)one, *b = (u64 *)other;
	u64 differences = 0;

#pragma unroll
	for (int i = 0; i < IDENTITY_WORDS; i++)
		differences |= a[i] ^ b[i];
	return !differences;
}

static inline void fill_process(struct process *process, struct identified *known)
{
	volatile struct identity *now = &known->now;
	struct image_asked asked = {};

	process->cgroup = now->cgroup;
	process->uid = now->uid;
	process->login_uid = now->login_uid;
	process->session = now->session;
	__builtin_memcpy(process->command, known->now.command, sizeof(process->command));
	if (now->memory && image_of(now->memory, &asked.image)) {
		u64 facts = call_facts_of_image(&asked);

		process->executable = facts;
		process->interprets = facts >> 32;
		process->deleted = is_deleted(&asked.image);
	}
	if (now->parent_memory && image_of(now->parent_memory, &asked.image)) {
		process->parent_executable = call_facts_of_image(&asked);
		process->parent_deleted = is_deleted(&asked.image);
	}
	if (process->interprets)
		process->script = script_of(now->task);
}

#endif

/* Number of the process that runs now; not for interrupts. 0: unknown. */
int current_process(void *unused)
{
	int zero = 0;
	struct process *process = process_scratch.lookup(&zero);

	if (!process)
		return 0;
#ifdef TYPES
	struct identified *known = identified.lookup(&zero);
	if (!known || !identify(&known->now))
		return 0;
	if (known->number && is_same_identity(&known->now, &known->last))
		return known->number;
	__builtin_memset(process, 0, sizeof(*process));
	fill_process(process, known);
	known->last = known->now;
	known->origin_open = 1;
	known->number = number_process(process);
	return known->number;
#else
	__builtin_memset(process, 0, sizeof(*process));
	process->cgroup = bpf_get_current_cgroup_id();
	process->uid = bpf_get_current_uid_gid();
	process->login_uid = UNKNOWN_ID;
	process->session = UNKNOWN_ID;
	bpf_get_current_comm(process->command, sizeof(process->command));
	return number_process(process);
#endif
}
APART(current_process, void);

/* Looks for where the login of the current process came from, until that is known; after current_process. */
static inline void learn_origin(void)
{
#ifdef TYPES
	int zero = 0;
	struct identified *known = identified.lookup(&zero);

	if (known && known->origin_open)
		known->origin_open = !call_learn_own_origin(NULL);
#endif
}

#ifdef TYPES

/* The script's path as it was given, made absolute. */
static inline u32 number_script(u64 task, u64 name)
{
	struct path_scratch *buffer = clean_scratch();
	u64 files = 0;
	struct image folder = {};
	char first = 0;

	if (!buffer)
		return 0;
	long length = bpf_probe_read_kernel_str(buffer->before, NAME_BYTES, (void *)name) - 1;
	if (length <= 0 || length >= NAME_BYTES - 1)
		return 0;
	u32 bytes = length & (NAME_BYTES - 1);
	u32 position = forget_range(2 * PATH_BYTES - bytes);
	if (bpf_probe_read_kernel(buffer->before + position, bytes, (void *)name))
		return 0;
	READ(first, name);
	if (first == '/')
		return number_scratch(buffer);
	position = forget_range(position - 1);
	buffer->before[position] = '/';
	if (READ(files, task + OFFSET_task_struct_fs) || READ(folder, files + OFFSET_fs_struct_pwd))
		return 0;
	return number_path(buffer, folder.dentry, folder.mount, position - 1);
}

static inline bool is_env(struct image *image)
{
	u64 name = 0;
	u32 length = 0, letters = 0;

	READ(name, image->dentry + OFFSET_dentry_d_name + OFFSET_qstr_name);
	READ(length, image->dentry + OFFSET_dentry_d_name + OFFSET_qstr_len);
	bpf_probe_read_kernel(&letters, 3, (void *)name);
	/* "env", the first letter lowest: all processors that are supported store numbers so. */
	return length == 3 && letters == 0x766e65;
}

/* A new program: finds its path while it is at hand, so that a connect later need not, and its script if it has one. */
int number_executable(struct bpf_raw_tracepoint_args *args)
{
	int zero = 0;
	u64 task = bpf_get_current_task(), binary = args->args[2], name = 0, interpreter = 0, memory = 0;
	u32 id = bpf_get_current_pid_tgid() >> 32;
	u64 *started = executions.lookup(&zero);
	struct image_asked asked = {.started_now = 1};

	if (started)
		__sync_fetch_and_add(started, 1);
	call_learn_own_origin(NULL);
	READ(memory, task + OFFSET_task_struct_mm);
	if (!memory || !image_of(memory, &asked.image))
		return 0;
	struct image_facts facts = {.number = call_facts_of_image(&asked), .interprets = 1};

	READ(name, binary + OFFSET_linux_binprm_filename);
	READ(interpreter, binary + OFFSET_linux_binprm_interp);
	struct script *known = scripts.lookup(&id);
	if (name != interpreter) {
		struct script script = {
			.started = start_of(task),
			.number = number_script(task, name),
			.through_env = is_env(&asked.image),
		};
		scripts.update(&id, &script);
	} else if (known && known->through_env && known->started == start_of(task)) {
		known->through_env = 0;
	} else {
		if (known)
			scripts.delete(&id);
		return 0;
	}
	images.update(&asked.image, &facts);
	return 0;
}

#endif
