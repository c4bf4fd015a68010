"""The receiver, as a merchant writes it; on the alias that the environment names."""

from __future__ import annotations

import os

from django.conf import settings
from django.db.models import F

from wxnotify import Expected, Merchant, Payment, Receiver
from wxnotify.stores.django import DjangoStore
from wxnotify.testing import APPID, MCH_ID

from .models import Order

store = DjangoStore(os.environ.get("WXNOTIFY_DJANGO_SHOP_ALIAS", "default"))


def expect(payment: Payment) -> Expected | None:
    order = Order.objects.using(store.using).filter(number=payment.out_trade_no).first()
    return Expected(order.total_fee) if order else None


receiver = Receiver(Merchant(MCH_ID, APPID, settings.WECHAT_KEY), store, expect=expect)


@receiver.on("payment", transaction=store.transaction)
def ship(payment: Payment, connection: object) -> None:
    Order.objects.using(store.using).filter(number=payment.out_trade_no).update(shipped=F("shipped") + 1)
