/* cdmqta: registers, instructions and runtime of the accelerator, for C99 and C++.

   Written by `cdmqta firmware` from the tables that the hardware is built from. It needs stdint.h,
   stddef.h and stdbool.h alone: no library, no memory but that of the caller. */

#ifndef CDMQTA_H
#define CDMQTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* @TABLES@ */

/* ---- Runtime -------------------------------------------------------------------------------- */

/* An accelerator, and how this machine reaches it. Any hook may be NULL. They are called with
   `context`; without `read32` and `write32`, that is the address of the first register. */
struct cdmqta_device {
    void *context;
    /* Read and write the 32-bit register at a byte address, one of CDMQTA_REGISTER_... A write has
       reached the accelerator before a read that follows it. */
    uint32_t (*read32)(void *context, uint32_t address);
    void (*write32)(void *context, uint32_t address, uint32_t value);
    /* Called before a program starts and after it ended: what the processor wrote to DRAM is seen
       by the accelerator, and the other way round. Without it, a fence of the compiler's, which is
       not enough where the accelerator does not see the processor's caches. */
    void (*barrier)(void *context);
    /* Called while a program runs: return true when the interrupt line is high, or at any time
       before; return false to give up. Without it, status is polled, for ever if need be, and the
       interrupt line stays low. */
    bool (*wait)(void *context);
};

/* A program in DRAM, and the registers that it runs with. */
struct cdmqta_program {
    uint64_t address;      /* of its first byte, a multiple of the bus width */
    uint32_t instructions; /* how many, the halt included */
    uint32_t watchdog;     /* see CDMQTA_REGISTER_WATCHDOG; 0 for none */
    uint32_t seed;         /* of stochastic rounding */
};

/* What functions return: X(identifier, meaning). */
#define CDMQTA_EACH_RESULT(X) \
    X(OK, "done") \
    X(NO_DEVICE, "no accelerator answers at this address") \
    X(WRONG_VERSION, "the accelerator has another version of registers and instructions") \
    X(BUSY, "a program runs, or a reset is not over") \
    X(NEEDS_RESET, "the accelerator stopped with an error, and was not reset") \
    X(BAD_PROGRAM, "the program's address or length is not one that the accelerator takes") \
    X(IDLE, "no program runs, and none ended since the last reset") \
    X(STOPPED, "the accelerator stopped with an error") \
    X(GAVE_UP, "the wait was given up")

enum cdmqta_result {
#define CDMQTA_RESULT_MEMBER_(identifier, meaning) CDMQTA_RESULT_##identifier,
    CDMQTA_EACH_RESULT(CDMQTA_RESULT_MEMBER_)
#undef CDMQTA_RESULT_MEMBER_
    CDMQTA_RESULTS /* how many there are */
};

/* One access to a register, through the hooks if there are any. */
uint32_t cdmqta_read32(const struct cdmqta_device *device, uint32_t address);
void cdmqta_write32(const struct cdmqta_device *device, uint32_t address, uint32_t value);

/* Check that an accelerator of this version answers: OK, NO_DEVICE or WRONG_VERSION. */
enum cdmqta_result cdmqta_init(const struct cdmqta_device *device);

/* Start a program: OK, BUSY, NEEDS_RESET or BAD_PROGRAM; only with OK anything has begun. What the
   program reads, itself included, is in DRAM before the call. */
enum cdmqta_result cdmqta_start(
    const struct cdmqta_device *device, const struct cdmqta_program *program);

/* Wait until the program that runs has ended: OK, STOPPED, IDLE or GAVE_UP. After OK, its results
   are in DRAM; the interrupt is still pending. After GAVE_UP it runs on. */
enum cdmqta_result cdmqta_wait(const struct cdmqta_device *device);

/* Clear the pending interrupt. */
void cdmqta_acknowledge(const struct cdmqta_device *device);

/* Start a program, wait for its end and acknowledge the interrupt: what these return. */
enum cdmqta_result cdmqta_run(
    const struct cdmqta_device *device, const struct cdmqta_program *program);

/* Stop whatever runs and forget all of it, errors included: OK, or GAVE_UP if the bus has not
   answered everything after so many reads of the status; 0 reads for as long as it takes. */
enum cdmqta_result cdmqta_reset(const struct cdmqta_device *device, uint32_t reads);

/* CDMQTA_STATUS_... bits. */
uint32_t cdmqta_status(const struct cdmqta_device *device);

/* Why the machine stopped, CDMQTA_ERROR_NONE if it did not. */
enum cdmqta_error cdmqta_last_error(const struct cdmqta_device *device);

/* After an error, the index of the instruction it stopped at; else, how many were dispatched. */
uint32_t cdmqta_error_instruction(const struct cdmqta_device *device);

/* Which engine waits for whose tokens, CDMQTA_WAITING_... bits; after an error, as it was then. */
uint32_t cdmqta_waiting(const struct cdmqta_device *device);

/* All 64 bits of a counter as they were at one time, also while a program runs. */
uint64_t cdmqta_read_counter(const struct cdmqta_device *device, enum cdmqta_counter counter);

/* Names for people; "unknown" for a number that has none. */
const char *cdmqta_counter_name(enum cdmqta_counter counter);
const char *cdmqta_error_name(enum cdmqta_error error);
const char *cdmqta_result_name(enum cdmqta_result result);

#ifdef __cplusplus
}
#endif

#endif
