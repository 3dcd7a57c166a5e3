/* cdmqta: the runtime that cdmqta.h declares. */

#include "cdmqta.h"

static const char *const counter_names[] = {
#define NAME(identifier, name) name,
    CDMQTA_EACH_COUNTER(NAME)
#undef NAME
};

static const char *const result_names[] = {
#define NAME(identifier, meaning) meaning,
    CDMQTA_EACH_RESULT(NAME)
#undef NAME
};

uint32_t cdmqta_read32(const struct cdmqta_device *device, uint32_t address)
{
    if (device->read32 != NULL)
        return device->read32(device->context, address);
    return *(const volatile uint32_t *)((uintptr_t)device->context + address);
}

void cdmqta_write32(const struct cdmqta_device *device, uint32_t address, uint32_t value)
{
    if (device->write32 != NULL)
        device->write32(device->context, address, value);
    else
        *(volatile uint32_t *)((uintptr_t)device->context + address) = value;
}

static void order_memory(const struct cdmqta_device *device)
{
    if (device->barrier != NULL) {
        device->barrier(device->context);
        return;
    }
#ifdef __GNUC__
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

enum cdmqta_result cdmqta_init(const struct cdmqta_device *device)
{
    if (cdmqta_read32(device, CDMQTA_REGISTER_IDENTITY) != CDMQTA_IDENTITY)
        return CDMQTA_RESULT_NO_DEVICE;
    if (cdmqta_read32(device, CDMQTA_REGISTER_VERSION) != CDMQTA_VERSION)
        return CDMQTA_RESULT_WRONG_VERSION;
    return CDMQTA_RESULT_OK;
}

/* Write a register and tell whether it holds all bits: those that it lacks read as zero. */
static bool holds(const struct cdmqta_device *device, uint32_t address, uint32_t value)
{
    cdmqta_write32(device, address, value);
    return cdmqta_read32(device, address) == value;
}

/* Tell whether the program's place is one that the accelerator takes, and write it. */
static bool place(const struct cdmqta_device *device, const struct cdmqta_program *program)
{
#ifdef CDMQTA_CONFIG_BUS_BYTES
    if (program->address % CDMQTA_CONFIG_BUS_BYTES != 0
        || program->address >> CDMQTA_CONFIG_ADDRESS_BITS != 0)
        return false;
#endif
    return program->instructions != 0
        && holds(device, CDMQTA_REGISTER_PROGRAM_LOW, (uint32_t)program->address)
        && holds(device, CDMQTA_REGISTER_PROGRAM_HIGH, (uint32_t)(program->address >> 32))
        && holds(device, CDMQTA_REGISTER_PROGRAM_LENGTH, program->instructions);
}

enum cdmqta_result cdmqta_start(
    const struct cdmqta_device *device, const struct cdmqta_program *program)
{
    uint32_t status = cdmqta_status(device);
    uint32_t control = CDMQTA_CONTROL_START;

    if (status & (CDMQTA_STATUS_BUSY | CDMQTA_STATUS_RESETTING))
        return CDMQTA_RESULT_BUSY;
    if (status & CDMQTA_STATUS_ERROR)
        return CDMQTA_RESULT_NEEDS_RESET;
    if (!place(device, program))
        return CDMQTA_RESULT_BAD_PROGRAM;
    cdmqta_write32(device, CDMQTA_REGISTER_WATCHDOG, program->watchdog);
    cdmqta_write32(device, CDMQTA_REGISTER_SEED, program->seed);
    /* An interrupt that is still pending would be taken for the end of this program. */
    cdmqta_acknowledge(device);
    order_memory(device);
    if (device->wait != NULL)
        control |= CDMQTA_CONTROL_INTERRUPT_ENABLE;
    cdmqta_write32(device, CDMQTA_REGISTER_CONTROL, control);
    return CDMQTA_RESULT_OK;
}

enum cdmqta_result cdmqta_wait(const struct cdmqta_device *device)
{
    uint32_t status;

    /* Status, not the pending bit: an interrupt handler may have acknowledged already. It shows
       the start as soon as the write of CONTROL is answered. */
    while ((status = cdmqta_status(device)) & CDMQTA_STATUS_BUSY) {
        if (device->wait != NULL && !device->wait(device->context))
            return CDMQTA_RESULT_GAVE_UP;
    }
    order_memory(device);
    if (status & CDMQTA_STATUS_ERROR)
        return CDMQTA_RESULT_STOPPED;
    return status & CDMQTA_STATUS_DONE ? CDMQTA_RESULT_OK : CDMQTA_RESULT_IDLE;
}

void cdmqta_acknowledge(const struct cdmqta_device *device)
{
    cdmqta_write32(device, CDMQTA_REGISTER_INTERRUPT, 1);
}

enum cdmqta_result cdmqta_run(
    const struct cdmqta_device *device, const struct cdmqta_program *program)
{
    enum cdmqta_result result = cdmqta_start(device, program);

    if (result != CDMQTA_RESULT_OK)
        return result;
    result = cdmqta_wait(device);
    if (result != CDMQTA_RESULT_GAVE_UP)
        cdmqta_acknowledge(device);
    return result;
}

enum cdmqta_result cdmqta_reset(const struct cdmqta_device *device, uint32_t reads)
{
    uint32_t count = 0;

    cdmqta_write32(device, CDMQTA_REGISTER_CONTROL, CDMQTA_CONTROL_RESET);
    while (cdmqta_status(device) & CDMQTA_STATUS_RESETTING) {
        if (reads != 0 && ++count == reads)
            return CDMQTA_RESULT_GAVE_UP;
    }
    return CDMQTA_RESULT_OK;
}

uint32_t cdmqta_status(const struct cdmqta_device *device)
{
    return cdmqta_read32(device, CDMQTA_REGISTER_STATUS);
}

enum cdmqta_error cdmqta_last_error(const struct cdmqta_device *device)
{
    uint32_t code = cdmqta_status(device) >> CDMQTA_STATUS_ERROR_CODE_OFFSET;

    return (enum cdmqta_error)(code & ((UINT32_C(1) << CDMQTA_STATUS_ERROR_CODE_BITS) - 1));
}

uint32_t cdmqta_error_instruction(const struct cdmqta_device *device)
{
    return cdmqta_read32(device, CDMQTA_REGISTER_ERROR_INSTRUCTION);
}

uint32_t cdmqta_waiting(const struct cdmqta_device *device)
{
    return cdmqta_read32(device, CDMQTA_REGISTER_WAITING);
}

uint64_t cdmqta_read_counter(const struct cdmqta_device *device, enum cdmqta_counter counter)
{
    uint32_t address = CDMQTA_REGISTER_COUNTERS + CDMQTA_COUNTER_BYTES * (uint32_t)counter;
    uint32_t low, high, before;

    /* A low word read between two equal high words belongs to them. */
    high = cdmqta_read32(device, address + 4);
    do {
        before = high;
        low = cdmqta_read32(device, address);
        high = cdmqta_read32(device, address + 4);
    } while (high != before);
    return (uint64_t)high << 32 | low;
}

const char *cdmqta_counter_name(enum cdmqta_counter counter)
{
    return (size_t)counter < CDMQTA_COUNTERS ? counter_names[counter] : "unknown";
}

const char *cdmqta_error_name(enum cdmqta_error error)
{
    switch (error) {
#define NAME(identifier, name) case CDMQTA_ERROR_##identifier: return name;
        CDMQTA_EACH_ERROR(NAME)
#undef NAME
    }
    return "unknown";
}

const char *cdmqta_result_name(enum cdmqta_result result)
{
    return (size_t)result < CDMQTA_RESULTS ? result_names[result] : "unknown";
}
