"""Every mutation of the sandbox store, by its GraphQL field name.

A module per subject; `_shared` holds what all of them use. A mutation is one SQLite transaction: it validates, then
writes, and what it refuses becomes `userErrors` with the store unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from commerce_assets.sandbox.context import Context
from commerce_assets.sandbox.mutations.bulk_mutation import bulk_operation_run_mutation
from commerce_assets.sandbox.mutations.customers import customer_create, customer_delete, customer_update
from commerce_assets.sandbox.mutations.fulfillments import fulfillment_create
from commerce_assets.sandbox.mutations.inventory import inventory_adjust_quantities, inventory_set_quantities
from commerce_assets.sandbox.mutations.metafields import (
    metafield_definition_create,
    metafield_definition_delete,
    metafields_delete,
    metafields_set,
)
from commerce_assets.sandbox.mutations.orders import order_cancel, order_create, order_delete, order_update
from commerce_assets.sandbox.mutations.products import product_delete, product_set
from commerce_assets.sandbox.mutations.refunds import refund_create
from commerce_assets.sandbox.mutations.segments import segment_create, segment_delete, segment_update
from commerce_assets.sandbox.mutations.staged_uploads import UploadRefused, accept_staged_upload, staged_uploads_create
from commerce_assets.sandbox.mutations.standard_definitions import standard_metafield_definition_enable
from commerce_assets.sandbox.mutations.tags import tags_add, tags_remove
from commerce_assets.sandbox.mutations.webhooks import (
    webhook_subscription_create,
    webhook_subscription_delete,
    webhook_subscription_update,
)

__all__ = ["MUTATIONS", "UploadRefused", "accept_staged_upload"]

MUTATIONS: dict[str, Callable[[Context, dict[str, Any]], dict[str, Any]]] = {
    "bulkOperationRunMutation": bulk_operation_run_mutation,
    "customerCreate": customer_create,
    "customerDelete": customer_delete,
    "customerUpdate": customer_update,
    "fulfillmentCreate": fulfillment_create,
    "inventoryAdjustQuantities": inventory_adjust_quantities,
    "inventorySetQuantities": inventory_set_quantities,
    "metafieldDefinitionCreate": metafield_definition_create,
    "metafieldDefinitionDelete": metafield_definition_delete,
    "metafieldsDelete": metafields_delete,
    "metafieldsSet": metafields_set,
    "orderCancel": order_cancel,
    "orderCreate": order_create,
    "orderDelete": order_delete,
    "orderUpdate": order_update,
    "productDelete": product_delete,
    "productSet": product_set,
    "refundCreate": refund_create,
    "segmentCreate": segment_create,
    "segmentDelete": segment_delete,
    "segmentUpdate": segment_update,
    "stagedUploadsCreate": staged_uploads_create,
    "standardMetafieldDefinitionEnable": standard_metafield_definition_enable,
    "tagsAdd": tags_add,
    "tagsRemove": tags_remove,
    "webhookSubscriptionCreate": webhook_subscription_create,
    "webhookSubscriptionDelete": webhook_subscription_delete,
    "webhookSubscriptionUpdate": webhook_subscription_update,
}
